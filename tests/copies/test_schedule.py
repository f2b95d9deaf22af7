"""The clock has copies tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.schedule.tick import next_at, tick
from tests.support.commands import cli, created
from tests.support.hosts import ADA

pytestmark = pytest.mark.usefixtures("host")


def test_a_tick_makes_the_copies_that_are_due(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    (nas.path / MARKER).unlink()
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    waits = backups.catalog.copies.of(backup)[0]
    assert next_at(app)["copy"] == waits.due_at
    nas.init()
    assert [each.job for each in tick(app)] == []
    (ticked,) = tick(app, clock=lambda: utc_now() + timedelta(minutes=2))
    assert (ticked.job, ticked.error) == ("copy", None)
    assert backups.catalog.operation(str(ticked.operation)).actor == "schedule"
    assert [copy.state for copy in backups.catalog.copies.of(backup)] == ["copied", "copied"]
    assert "copy" not in next_at(app)


def test_a_copy_that_fails_in_a_tick_is_told(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    created(app)
    (nas.path / MARKER).unlink()
    done = cli(app, "tick")
    assert done.exit_code == 1
    assert "mount its disk" in done.stdout
    assert "The copy is complete" in done.stdout
    assert "The next copy is due at" in done.stdout
