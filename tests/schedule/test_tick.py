"""What a tick makes of what is due: run once, late, put off, planned anew."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import event

from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import BusyError, CancelledError, PruneRefusedError
from hexhub_backup.history.runs import Run
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from hexhub_backup.schedule.tick import tick
from hexhub_backup.schedule.times import cron
from hexhub_backup.verbs.prune import PRUNE_EVERY
from tests.support import extent
from tests.support.commands import cli
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import ADA
from tests.support.people import sign_in
from tests.support.serving import PREFIX
from tests.support.ticking import Ticking

NIGHTLY = {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00", "HEXHUB_BACKUP_TIMEZONE": "Europe/Berlin"}
pytestmark = [pytest.mark.host(config=NIGHTLY), pytest.mark.usefixtures("host")]


def test_a_backup_is_made_when_it_is_due_and_once(ticking: Ticking) -> None:
    due = ticking.due("backup")
    berlin = due.astimezone(ZoneInfo("Europe/Berlin"))
    assert (berlin.hour, berlin.minute) == (3, 0)
    ticking.clock.now = due - timedelta(seconds=1)
    assert "backup" not in {each.job for each in ticking()}
    ticking.until("backup")
    (ticked,) = (each for each in ticking() if each.job == "backup")
    assert (ticked.due_at, ticked.error) == (due, None)
    (backup,) = ticking.backups.history.backups()
    assert (backup.id, backup.created_by) == (ticked.operation, "schedule")
    assert ticking.due("backup") == due + timedelta(days=1)
    ticking.clock.goes(seconds=1)
    assert ticking() == []


def test_without_a_schedule_no_backup_is_due(ticking: Ticking) -> None:
    ticking.set(schedule=None)
    ticking()
    assert "backup" not in ticking.runs.all()
    ticking.clock.goes(days=3)
    ticking()
    assert ticking.verbs() == ["prune"]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        pytest.param("weekly sun 02:30", "Europe/Berlin", marks=pytest.mark.matrix),
        pytest.param("30 1,2 * * sun", "America/New_York", marks=pytest.mark.matrix),
        ("0 2 * * sat,sun", "Australia/Lord_Howe"),
    ],
)
def test_forty_months_of_ticks_run_each_time_once(ticking: Ticking, text: str, zone: str) -> None:
    # Nothing of this has to outlive a power loss.
    event.listen(db.engine, "connect", lambda it, _: it.execute("PRAGMA synchronous = OFF"))
    db.engine.dispose()
    ticking.set(schedule=text, timezone=zone)
    ticking.clock.now = begin = datetime(2024, 1, 15, tzinfo=timezone.utc)
    ticking.runs.remove("backup")
    ticking.runs.remove("prune")
    ticking()
    # Of fewer months both changes of daylight saving are among them, too.
    end = datetime(2027, 5, 15, tzinfo=timezone.utc) - timedelta(days=365 * (extent.step() - 1))
    while ticking.due("backup") < end:
        ticking.until("backup")
        ticking(run=False)
        ticking.clock.goes(seconds=1)
        ticking(run=False)
    ran = [order.options["due_at"] for order in ticking.ordered if order.verb == "create"]
    next_after, moment, expected = cron(text, ZoneInfo(zone), named="it"), begin, []
    while (moment := next_after(moment)) < end:
        expected.append(moment.isoformat())
    assert ran == expected


def test_runs_that_were_missed_are_run_once_and_said_to_be_late(ticking: Ticking) -> None:
    due = ticking.due("backup")
    # Its operation is queued by the clock of the machine, which no test sets.
    late = timedelta(days=4, hours=2)
    run = ticking.run("backup")
    ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=due - late))
    ticking.clock.goes(minutes=1)
    ticking()
    ticking()
    assert ticking.verbs().count("create") == 1
    (backup,) = ticking.backups.history.backups()
    operation = ticking.backups.catalog.operation(backup.id)
    assert operation.late_by is not None
    assert operation.late_by > timedelta(days=3)
    days = round(operation.late_by / timedelta(days=1))
    says = f"schedule, late by {days} days"
    assert says in cli(ticking.app, "operations").stdout
    (row,) = json.loads(cli(ticking.app, "operations", "--json").stdout)
    assert row["late_seconds"] == operation.late_by.total_seconds()
    client = ticking.app.test_client()
    sign_in(client, ADMIN)
    for page in ("/", f"/operations/{backup.id}"):
        assert f"by {says}" in client.get(f"{PREFIX}{page}").text
    assert ticking.due("backup") == due


def test_what_is_in_time_is_not_late(ticking: Ticking) -> None:
    run = ticking.run("backup")
    just_now = datetime.now(timezone.utc) - timedelta(seconds=20)
    ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=just_now))
    ticking.clock.now = datetime.now(timezone.utc)
    ticking()
    (backup,) = ticking.backups.history.backups()
    assert ticking.backups.catalog.operation(backup.id).late_by is None
    assert "late" not in cli(ticking.app, "operations").stdout


def test_what_finds_another_operation_is_tried_again_after_a_minute(
    ticking: Ticking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hexhub_backup")
    ticking.until("backup")
    due = ticking.clock.now
    with exclusive(coordinator_of(ticking.backups).lock) as lock:
        lock.name({"operation": "x", "verb": "restore", "actor": "ada", "started_at": "then"})
        (ticked,) = (each for each in ticking() if each.job == "backup")
        assert isinstance(ticked.error, BusyError)
        assert "the scheduled backup is put off until" in caplog.text
        assert "the restore x by ada" in caplog.text
        assert ticking.due("backup") == due + timedelta(minutes=1)
        ticking.clock.goes(seconds=30)
        assert "backup" not in {each.job for each in ticking()}
        ticking.clock.goes(seconds=30)
        ticking()
    assert ticking.verbs() == []
    ticking.clock.goes(minutes=1)
    ticking()
    assert ticking.verbs().count("create") == 1
    assert ticking.ordered[0].options["due_at"] == due.isoformat()
    assert ticking.due("backup") == due + timedelta(days=1)


def test_a_process_that_dies_between_the_claim_and_the_order_loses_no_run(ticking: Ticking) -> None:
    ticking.until("backup")
    run, operation = ticking.run("backup"), new_id()
    claimed = Run(
        name="backup",
        spec=run.spec,
        due_at=run.due_at,
        try_at=ticking.clock.now + timedelta(minutes=1),
        operation_id=operation,
    )
    assert ticking.runs.change(run, claimed)
    ticking()
    assert "create" not in ticking.verbs()
    ticking.clock.goes(minutes=1)
    ticking()
    (backup,) = ticking.backups.history.backups()
    assert backup.id == operation


def test_a_process_that_dies_after_the_order_runs_nothing_twice(ticking: Ticking) -> None:
    ticking.until("backup")
    run, due = ticking.run("backup"), ticking.clock.now
    operation = ticking.backups.orders.run(ticking.app, verbs.create.order(ADA)).operation
    claimed = Run(name="backup", spec=run.spec, due_at=due, try_at=due, operation_id=operation)
    assert ticking.runs.change(run, claimed)
    (ticked,) = (each for each in ticking() if each.job == "backup")
    assert ticked.words() == f"The backup was begun by another process: {operation}"
    assert "create" not in ticking.verbs()
    assert ticking.due("backup") == due + timedelta(days=1)


def test_an_operation_that_fails_is_not_run_again(ticking: Ticking) -> None:
    ticking.until("backup")
    ticking.backups.orders.stopping = CancelledError("It was cancelled.")
    (ticked,) = (each for each in ticking() if each.job == "backup")
    ticking.backups.orders.stopping = None
    assert ticked.failed
    assert ticked.operation is not None
    assert ticking.backups.catalog.operation(ticked.operation).state == "cancelled"
    ticking.clock.goes(minutes=5)
    assert ticking() == []


def test_another_schedule_is_planned_anew_and_keeps_what_was_missed(ticking: Ticking) -> None:
    ticking.set(schedule="daily 04:00", timezone="UTC")
    assert ticking() == []
    assert ticking.due("backup").hour == 4
    ticking.until("backup")
    ticking.clock.goes(hours=1)
    ticking.set(schedule="daily 23:00")
    ticking()
    assert ticking.verbs().count("create") == 1
    assert ticking.due("backup").hour == 23


def test_a_time_that_a_wrong_clock_has_set_puts_nothing_off(ticking: Ticking) -> None:
    now = ticking.clock.now
    ticking.backups.catalog.set_due("prune", now + timedelta(days=3650))
    ticking()
    ticking()
    assert ticking.verbs() == ["prune"]
    assert ticking.due("prune") <= datetime.now(timezone.utc) + PRUNE_EVERY
    ticking()
    assert ticking.verbs() == ["prune"]


def test_what_was_put_off_by_a_clock_that_was_ahead_is_tried_when_it_is_right(
    ticking: Ticking,
) -> None:
    ticking.until("backup")
    due = ticking.clock.now
    ticking.clock.goes(days=365)
    with exclusive(coordinator_of(ticking.backups).lock) as lock:
        lock.name({"operation": "x", "verb": "restore", "actor": "ada", "started_at": "then"})
        (ticked,) = (each for each in ticking() if each.job == "backup")
        assert isinstance(ticked.error, BusyError)
    ticking.clock.now = due + timedelta(hours=1)
    assert ticking.due("backup") > due + timedelta(days=364)
    ticking()
    assert ticking.verbs().count("create") == 1
    ticking()
    assert ticking.verbs().count("create") == 1
    assert ticking.due("backup") == due + timedelta(days=1)


def test_a_clock_that_is_set_back_a_little_runs_nothing_twice(ticking: Ticking) -> None:
    ticking.until("backup")
    ticking()
    ticking.clock.goes(minutes=-10)
    ticking()
    ticking()
    assert ticking.verbs().count("create") == 1


def test_a_prune_that_is_refused_removes_uploads_and_is_tried_again_after_an_hour(
    ticking: Ticking,
) -> None:
    app, backups = ticking.app, ticking.backups
    made = [backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(5)]
    for each in made:
        backups.catalog.update_backup(each, created_at=ticking.clock.now - timedelta(days=31))
    upload = depot_of(backups).upload("an-upload")
    upload.write_bytes(depot_of(backups).archive(made[0]).read_bytes())
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, str(upload), Choice())
    ).operation
    old = time.time() - 2 * 86400
    os.utime(upload, (old, old))
    ticking.backups.catalog.set_due("prune", ticking.clock.now)
    (ticked,) = ticking()
    assert isinstance(ticked.error, PruneRefusedError)
    assert ticked.failed
    assert ticking.verbs() == []
    assert len(backups.history.backups()) == 5
    assert not upload.exists()
    assert not depot_of(backups).plan(plan).exists()
    assert ticking.due("prune") == ticking.clock.now + timedelta(hours=1)


def test_the_command_does_what_is_due_and_exits(app: Flask, ticking: Ticking) -> None:
    says = cli(app, "tick")
    assert says.exit_code == 0
    assert says.stdout.startswith("Nothing is due.\nThe next ")
    run, past = ticking.run("backup"), datetime.now(timezone.utc) - timedelta(hours=2)
    ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=past))
    says = cli(app, "tick")
    (backup,) = ticking.backups.history.backups()
    assert says.stdout.splitlines()[0] == f"The backup is complete: {backup.id}"
    assert f"{backup.id}  create    completed     schedule, late by 2 h" in (
        cli(app, "operations").stdout
    )
    document = json.loads(cli(app, "tick", "--json").stdout)
    assert document["ticked"] == []
    assert document["next"].keys() >= {"backup", "prune"}


def test_the_command_fails_with_what_it_ran(app: Flask, ticking: Ticking) -> None:
    run, past = ticking.run("backup"), datetime.now(timezone.utc)
    ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=past))
    ticking.backups.orders.stopping = CancelledError("It was cancelled.")
    says = cli(app, "tick", "--json")
    ticking.backups.orders.stopping = None
    assert says.exit_code == 1
    (ticked,) = json.loads(says.stdout)["ticked"]
    assert ticked["error"]["code"] == "cancelled"


def test_what_goes_wrong_in_one_job_stops_no_other(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a directory on a server that is gone does (ESTALE)."""
    now = utc_now()
    tick(app, clock=lambda: now)
    gone = OSError(errno.ESTALE, "Stale file handle")

    def fails(*_: object, **__: object) -> None:
        raise gone

    monkeypatch.setattr(type(backups.alerts), "look", fails)
    done = {each.job: each for each in tick(app, clock=lambda: now + timedelta(days=2))}
    assert done["alerts"].failed
    assert done["backup"].operation is not None
    assert done["prune"].operation is not None
