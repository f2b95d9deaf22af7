"""What a server's process does beside its requests, whatever goes wrong with it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup.history.models import Operation, operations
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.verbs import PRUNE_EVERY
from hexhub_backup.operations.choice import Choice
from hexhub_backup.web.server import Housekeeping
from tests.web.serving import ADA, backups_of, is_idle, make_app, make_backup, wait_for


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = make_app(tmp_path / "host")
    with app.app_context():
        yield app


@pytest.fixture
def housekeeping(app: Flask) -> Housekeeping:
    """One that has looked for the first time."""
    found = Housekeeping()
    look(found, app)
    return found


def look(housekeeping: Housekeeping, app: Flask) -> None:
    """Look as if a minute had passed, and wait until all is done."""
    housekeeping._last.clear()
    housekeeping.look(app)
    for thread in threading.enumerate():
        if thread.name == "hexhub_backup housekeeping":
            thread.join(30)
    wait_for(lambda: is_idle(app))


def prunes(app: Flask) -> int:
    return sum(each.verb == "prune" for each in backups_of(app).operations())


def test_a_due_time_that_a_wrong_clock_has_set_puts_no_prune_off(
    app: Flask, housekeeping: Housekeeping
) -> None:
    catalog = backups_of(app).catalog
    catalog.set_due("prune", utc_now() + timedelta(days=3650))
    look(housekeeping, app)
    assert prunes(app) == 1
    due = catalog.due_at("prune")
    assert due is not None
    assert due <= utc_now() + PRUNE_EVERY
    look(housekeeping, app)
    assert prunes(app) == 1


def test_a_prune_that_is_refused_removes_uploads_and_keeps_no_look_from_the_dead(
    app: Flask, housekeeping: Housekeeping
) -> None:
    backups = backups_of(app)
    made = [make_backup(app) for _ in range(5)]
    for each in made:
        backups.catalog.update_backup(each, expires_at=utc_now() - timedelta(days=1))
    upload = backups.directory.upload("an-upload")
    upload.write_bytes(backups.directory.archive(made[0]).read_bytes())
    plan = backups.run(backups.inspect(app, ADA, str(upload), Choice())).operation
    old = time.time() - 2 * 86400
    os.utime(upload, (old, old))
    backups.catalog.set_due("prune", utc_now() - timedelta(hours=1))
    look(housekeeping, app)
    assert prunes(app) == 0
    assert len(backups.backups()) == 5
    assert not upload.exists()
    assert not backups.directory.plan(plan).exists()
    # It is tried again after an hour; what is dead is seen within a minute.
    backups.catalog.add_operation(
        Operation(
            id="dead", verb="verify", state="running", actor=ADMIN, options={}, started_at=utc_now()
        )
    )
    look(housekeeping, app)
    assert backups.catalog.operation("dead").state == "interrupted"


def test_a_first_look_that_fails_is_made_up_for(app: Flask) -> None:
    """The database is away when a process gets its first request."""
    backups, housekeeping = backups_of(app), Housekeeping()
    backups.catalog.add_operation(
        Operation(
            id="dead", verb="verify", state="running", actor=ADMIN, options={}, started_at=utc_now()
        )
    )

    def rename(old: str, new: str) -> None:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename(operations.name, "elsewhere")
    look(housekeeping, app)
    rename("elsewhere", operations.name)
    look(housekeeping, app)
    assert backups.catalog.operation("dead").state == "interrupted"


def test_no_thread_for_it_is_no_harm_to_the_request(app: Flask, housekeeping: Housekeeping) -> None:
    usual = threading.stack_size(1 << 46)
    try:
        look(housekeeping, app)
    finally:
        threading.stack_size(usual)
    backups_of(app).catalog.set_due("prune", utc_now() - timedelta(hours=1))
    look(housekeeping, app)
    assert prunes(app) == 1


def test_a_process_that_was_forked_off_during_a_look_looks_for_itself(
    app: Flask, housekeeping: Housekeeping
) -> None:
    """gunicorn --preload, or a host that forks its own workers."""
    own = housekeeping._locks[os.getpid()]
    with own:
        child = os.fork()
        if child == 0:
            housekeeping.look(app)
            os._exit(0 if os.getpid() in housekeeping._last else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0
