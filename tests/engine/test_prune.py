"""Which backups a prune may delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from hexhub_backup.errors import PruneRefusedError
from hexhub_backup.operations.prune import expired

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


@dataclass
class Backup:
    id: str
    age: int
    state: str = "completed"
    kept: bool = False
    intact: bool | None = True
    file_missing: bool = False

    @property
    def created_at(self) -> datetime:
        return NOW - timedelta(days=self.age)

    @property
    def expires_at(self) -> datetime | None:
        return None if self.kept else self.created_at + timedelta(days=30)


def daily(days: int, *, start: int = 0) -> list[Backup]:
    return [Backup(f"day-{age}", age) for age in range(start, start + days)]


def test_what_is_older_than_the_retention_goes_the_oldest_first() -> None:
    assert expired(daily(33), NOW) == ["day-32", "day-31", "day-30"]


def test_the_newest_good_one_stays_however_old_it_is() -> None:
    assert expired([Backup("only", 90)], NOW) == []
    broken = Backup("broken", 40, intact=False)
    gone = Backup("gone", 35, file_missing=True)
    failed = Backup("failed", 33, state="failed")
    found = expired([failed, gone, broken, Backup("good", 90)], NOW)
    assert found == ["broken", "gone", "failed"]


def test_what_is_kept_or_running_stays() -> None:
    backups = [Backup("new", 1), Backup("kept", 90, kept=True), Backup("run", 90, state="running")]
    assert expired(backups, NOW) == []


def test_a_clock_that_jumps_deletes_nothing_that_is_young() -> None:
    backups = daily(30)
    with pytest.raises(PruneRefusedError, match="29 of 30 backups"):
        expired(backups, NOW + timedelta(days=365))
    with_a_new_one = [Backup("after the jump", -365), *backups]
    with pytest.raises(PruneRefusedError):
        expired(with_a_new_one, NOW + timedelta(days=365))


def test_a_few_may_go_at_once() -> None:
    assert len(expired([Backup("new", 0), *daily(3, start=40)], NOW)) == 3
