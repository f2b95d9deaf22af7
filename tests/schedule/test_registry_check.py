"""The registry itself is checked by the clock, as often as a backup is verified, and after that."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from flask import Flask

from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.errors import DatabaseError
from hexhub_backup.history.models import Operation
from hexhub_backup.operations import doctor
from hexhub_backup.storage.local import LocalStorage
from tests.support.hosts import ADA, file_of, one_package, restored
from tests.support.people import sign_in
from tests.support.serving import PREFIX
from tests.support.stored import root_of
from tests.support.ticking import Ticking

pytestmark = [pytest.mark.host(file_size=2000), pytest.mark.usefixtures("host")]
JOB = "verification"


@pytest.fixture(autouse=True)
def _due(ticking: Ticking, backup: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a backup, and it is the time of a look."""
    monkeypatch.setattr(doctor, "SETTLES", 0)
    ticking()
    ticking.until(JOB)


def checks(ticking: Ticking) -> int:
    return ticking.verbs().count("doctor")


def test_it_is_checked_at_first_and_after_so_many_days(ticking: Ticking, backup: str) -> None:
    ticking()
    assert checks(ticking) == 1
    (check,) = (each for each in ticking.ordered if each.verb == "doctor")
    assert check.who.actor == "schedule"
    ticking.clock.goes(days=6)
    ticking()
    assert checks(ticking) == 1
    # What has to be read again comes first.
    ticking.clock.goes(days=1)
    ticking()
    assert ticking.verbs()[-1] == "verify_all"
    ticking.backups.catalog.update_backup(backup, verified_at=ticking.clock.now)
    ticking.until(JOB)
    ticking()
    assert checks(ticking) == 2


def test_without_a_backup_there_is_nothing_to_hold_it_against(
    app: Flask, ticking: Ticking, backup: str
) -> None:
    ticking.backups.history.delete(app, ADA, backup)
    ticking()
    assert checks(ticking) == 0


def test_it_is_turned_off_with_verification(ticking: Ticking) -> None:
    ticking.set(verify_days=0)
    ticking()
    assert checks(ticking) == 0
    assert JOB not in ticking.runs.all()


def test_one_runs_at_a_time(ticking: Ticking) -> None:
    ticking.backups.catalog.add_operation(
        Operation(
            id="another",
            verb="doctor",
            state="running",
            actor="schedule",
            options={},
            queued_at=ticking.clock.now - timedelta(days=9),
        )
    )
    ticking()
    assert checks(ticking) == 0
    ticking.backups.catalog.finish_operation("another", state="cancelled")
    ticking.until(JOB)
    ticking()
    assert checks(ticking) == 1


def test_one_that_fails_is_tried_again_after_a_day(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: LocalStorage) -> None:
        raise DatabaseError("The database is away.")

    monkeypatch.setattr(LocalStorage, "names", refuse)
    ticking(run=True)
    ticking.until(JOB)
    ticking()
    failed = [each for each in ticking.backups.history.operations() if each.verb == "doctor"]
    assert [each.state for each in failed] == ["failed"]
    monkeypatch.undo()
    ticking.clock.goes(days=1)
    ticking()
    assert checks(ticking) == 1


def test_what_it_finds_is_told_until_it_was_brought_back(
    app: Flask, ticking: Ticking, backup: str
) -> None:
    """It finds a file that is missing, which is news, and looks again soon after a restore."""
    file = file_of(app, one_package())
    data = file.read_bytes()
    file.unlink()
    client = app.test_client()
    sign_in(client, ADMIN)
    ticking()
    assert "Registry check</a>" in client.get(f"{PREFIX}/").text
    (problem,) = (
        each
        for each in ticking.backups.status(ticking.clock.now).problems
        if each.code == "files_wrong"
    )
    assert problem.level == "critical"
    assert "1 file of the registry is missing" in problem.text
    ticking.until(JOB)
    ticking()
    assert checks(ticking) == 1
    restored(app, backup, strategy="skip", protected=False)
    assert file.read_bytes() == data
    ticking.until(JOB)
    ticking()
    assert checks(ticking) == 2
    assert not any(
        each.code == "files_wrong" for each in ticking.backups.status(ticking.clock.now).problems
    )


def test_it_keeps_to_the_rate_of_verifications(app: Flask, ticking: Ticking, backup: str) -> None:
    hosted = root_of(ticking.backups.storage) / "hosted"
    ticking.set(verify_rate=sum(each.stat().st_size for each in hosted.rglob("*.gz")))
    began = time.monotonic()
    ticking()
    # A second for all: they take a fraction of it.
    assert time.monotonic() - began > 0.99
    (check,) = (each for each in ticking.ordered if each.verb == "doctor")
    assert ticking.backups.catalog.operation(check.id).state == "completed"
    # Who asks for it himself waits for nothing.
    assert verbs.doctor.order(ADA).options == {}
