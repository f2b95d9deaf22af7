"""Which backups a prune may delete."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from hexhub_backup.errors import PruneRefusedError
from hexhub_backup.history.models import ListedBackup
from hexhub_backup.operations import prune
from hexhub_backup.retention import Rules, held_by

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
DAYS = Rules(days=30)


def backup(
    name: str,
    age: int,
    *,
    state: str = "completed",
    kept: bool = False,
    intact: bool | None = True,
    file_missing: bool = False,
) -> ListedBackup:
    """A backup of so many days ago."""
    created_at = NOW - timedelta(days=age)
    return ListedBackup(
        id=name,
        state=state,
        created_at=created_at,
        created_by="admin",
        kept=kept,
        intact=intact,
        file_missing=file_missing,
        contents=None,
        checksums=None,
    )


def expired(backups: list[ListedBackup], now: datetime, rules: Rules = DAYS) -> list[str]:
    """What goes, by the rule of thirty days where there is no other."""
    latest_first = sorted(backups, key=lambda each: each.created_at, reverse=True)
    return prune.expired(list(held_by(latest_first, rules, now)), rules, now)


def daily(days: int, *, start: int = 0) -> list[ListedBackup]:
    return [backup(f"day-{age}", age) for age in range(start, start + days)]


def test_what_is_older_than_the_retention_goes_the_oldest_first() -> None:
    assert expired(daily(33), NOW) == ["day-32", "day-31", "day-30"]


def test_the_newest_good_one_stays_however_old_it_is() -> None:
    assert expired([backup("only", 90)], NOW) == []
    broken = backup("broken", 40, intact=False)
    gone = backup("gone", 35, file_missing=True)
    failed = backup("failed", 33, state="failed")
    found = expired([failed, gone, broken, backup("good", 90)], NOW)
    assert found == ["broken", "gone", "failed"]


def test_what_is_kept_or_running_stays() -> None:
    backups = [backup("new", 1), backup("kept", 90, kept=True), backup("run", 90, state="running")]
    assert expired(backups, NOW) == []


def test_a_clock_that_jumps_deletes_nothing_that_is_young() -> None:
    backups = daily(30)
    with pytest.raises(PruneRefusedError, match="29 of 30 backups"):
        expired(backups, NOW + timedelta(days=365))
    with_a_new_one = [backup("after the jump", -365), *backups]
    with pytest.raises(PruneRefusedError):
        expired(with_a_new_one, NOW + timedelta(days=365))


def test_what_is_to_be_deleted_anyway_is() -> None:
    backups, later = daily(30), NOW + timedelta(days=365)
    found = list(held_by(backups, DAYS, later))
    with pytest.raises(PruneRefusedError, match="prune --anyway"):
        prune.expired(found, DAYS, later)
    assert len(prune.expired(found, DAYS, later, anyway=True)) == 29


@pytest.mark.parametrize("new", [0, 1, 60])
def test_where_the_directory_looks_empty_no_row_goes(new: int) -> None:
    """As where its disk is not mounted: backups that were made since lie below it."""
    away = [backup(f"away-{age}", age, file_missing=True) for age in range(61, 71)]
    with pytest.raises(PruneRefusedError, match="disk may not be mounted"):
        expired([*daily(new), *away], NOW)
    assert expired([*daily(new), *away], NOW - timedelta(days=60)) == []


def test_a_file_that_is_gone_beside_others_of_its_time_is_lost() -> None:
    lost = backup("lost", 40, file_missing=True)
    assert expired([backup("new", 1), lost, backup("older", 50)], NOW) == ["older", "lost"]


def test_a_few_may_go_at_once() -> None:
    assert len(expired([backup("new", 0), *daily(3, start=40)], NOW)) == 3


def test_most_may_go_by_rules_that_count_as_no_clock_says_so() -> None:
    assert len(expired(daily(30), NOW, Rules(last=1))) == 29
    with pytest.raises(PruneRefusedError, match="29 of 30 backups"):
        expired(daily(30, start=40), NOW, Rules(last=1, days=30))
