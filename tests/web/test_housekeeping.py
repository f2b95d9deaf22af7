"""What a server's process does beside its requests, whatever goes wrong with it."""

from __future__ import annotations

import os
import threading

import pytest
from flask import Flask

from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import operations
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.web.server import Housekeeping
from tests.support.directory import lock_is_free
from tests.support.patience import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("host")


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
            thread.join(PATIENCE)
    wait_for(lambda: lock_is_free(backups_of(app)))


def dead_operation(app: Flask, name: str = "dead") -> None:
    """One that is said to run, of which nobody holds the log."""
    backups_of(app).catalog.add_operation(
        Operation(
            id=name,
            verb="verify",
            state="running",
            actor=ADMIN,
            options={},
            queued_at=utc_now(),
            started_at=utc_now(),
        )
    )


def test_what_is_dead_is_seen_within_a_minute(app: Flask, housekeeping: Housekeeping) -> None:
    dead_operation(app)
    look(housekeeping, app)
    assert backups_of(app).catalog.operation("dead").state == "interrupted"


def test_a_first_look_that_fails_is_made_up_for(app: Flask) -> None:
    """The database is away when a process gets its first request."""
    backups, housekeeping = backups_of(app), Housekeeping()
    dead_operation(app)

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
    dead_operation(app)
    look(housekeeping, app)
    assert backups_of(app).catalog.operation("dead").state == "interrupted"


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
