"""A restore is tried by the clock, so that nobody has to think of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hexhub_backup import verbs
from hexhub_backup.watching.status import Status
from tests.support.hosts import ADA
from tests.support.ticking import Ticking

WEEKLY = {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00", "HEXHUB_BACKUP_VERIFY_DAYS": 0}

pytestmark = [pytest.mark.usefixtures("host"), pytest.mark.host(config=WEEKLY)]


def rehearsed(ticking: Ticking) -> list[str | None]:
    """The backups that were, as they were ordered."""
    return [each.backup for each in ticking.ordered if each.verb == "rehearse"]


def now_of(ticking: Ticking) -> Status:
    return ticking.backups.status(ticking.clock.now)


def codes(ticking: Ticking) -> list[str]:
    # The backups of these tests get old.
    return [each.code for each in now_of(ticking).problems if each.code != "overdue"]


def made(ticking: Ticking) -> str:
    return ticking.backups.orders.run(ticking.app, verbs.create.order(ADA)).operation


def test_the_newest_good_backup_is_rehearsed_once_a_week(ticking: Ticking) -> None:
    ticking.set(schedule="daily 03:00", rehearse=7)
    first = made(ticking)
    assert ticking.due("rehearsal") == ticking.run("rehearsal").due_at
    assert ticking.due("rehearsal") - ticking.clock.now == timedelta(days=7)
    ticking.until("rehearsal")
    ticking(run=False)
    newest = [each.backup for each in ticking.ordered if each.verb == "rehearse"]
    assert newest == [first]


def test_one_that_was_rehearsed_is_not_again(ticking: Ticking) -> None:
    backup = made(ticking)
    order = verbs.rehearse.order(ticking.backups.history, ADA, backup)
    ticking.backups.orders.run(ticking.app, order)
    ticking.until("rehearsal")
    ticking(run=False)
    assert rehearsed(ticking) == []


def test_without_a_schedule_or_where_it_is_off_nothing_is_rehearsed(ticking: Ticking) -> None:
    for settings in ({"rehearse": 0}, {"schedule": None, "rehearse": 7}):
        ticking.set(**settings)
        made(ticking)
        ticking.clock.goes(days=20)
        ticking(run=False)
        assert rehearsed(ticking) == []


def test_status_says_that_no_rehearsal_was_made_for_two_intervals(ticking: Ticking) -> None:
    backup = made(ticking)
    assert codes(ticking) == []
    order = verbs.rehearse.order(ticking.backups.history, ADA, backup)
    ticking.backups.orders.run(ticking.app, order)
    ticking.clock.goes(days=13)
    assert codes(ticking) == []
    ticking.clock.goes(days=2)
    assert codes(ticking) == ["not_rehearsed"]
    (problem,) = (each for each in now_of(ticking).problems if each.code == "not_rehearsed")
    assert problem.text == "No restore was rehearsed for 15 days."
    ticking.set(rehearse=0)
    assert codes(ticking) == []


def test_status_says_that_not_all_came_back(ticking: Ticking) -> None:
    backup = made(ticking)
    ticking.backups.catalog.update_backup(backup, rehearsed_at=ticking.clock.now, restorable=False)
    (problem,) = (each for each in now_of(ticking).problems if each.code == "not_restorable")
    assert problem.level == "critical"
    assert problem.text.startswith(f"Backup {backup} was rehearsed just now, and not all")


def test_status_says_why_the_first_one_could_not_be_made(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = made(ticking)
    backups = ticking.backups
    backups.settings = replace(backups.settings, rehearse=7)
    # What a disk says that is full.
    monkeypatch.setattr("hexhub_backup.storage.local.LocalStorage.free", lambda _: 0)
    order = verbs.rehearse.order(backups.history, ADA, backup)
    with pytest.raises(Exception, match="A rehearsal of this archive needs about"):
        backups.orders.run(ticking.app, order)
    assert codes(ticking) == ["not_rehearsed"]
    (problem,) = (each for each in now_of(ticking).problems if each.code == "not_rehearsed")
    assert "No restore could be rehearsed. Reason: A rehearsal of this archive" in problem.text
    assert backups.history.backup(backup).rehearsed_at is None
