"""PostgreSQL under a whole operation: its lock, and what is left when it goes away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import (
    BackupError,
    BusyError,
    DatabaseError,
    InterruptedOperationError,
)
from hexhub_backup.history.models import Who
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.store import Catalog
from hexhub_backup.history.tables import metadata, operations
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support.hosts import planned
from tests.support.instance import Instance
from tests.support.patience import PATIENCE
from tests.support.postgres import Server, name_of

pytestmark = pytest.mark.usefixtures("host")

ADA = Who(actor="ada")


@pytest.fixture
def uri(postgresql: Server) -> str:
    return postgresql.create()


def at_step(app: Flask, step: str, do: Callable[[], object]) -> Any:
    """Do something when an operation begins a step; the receiver has to be kept."""

    def receiver(_: Flask, *, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == step and event["state"] == "running":
            do()

    signals.operation_step.connect(receiver, app)
    return receiver


def wait_until(sql: str, server: Server, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.execute(sql) != [(count,)]:
        assert time.monotonic() < deadline, f"never: {sql}"
        time.sleep(0.01)


# --- the lock ----------------------------------------------------------------------------


def test_hosts_that_share_only_the_database_run_one_operation_at_a_time(
    app: Flask, backups: Backups, instance: Instance, tmp_path: Path
) -> None:
    other = Instance(tmp_path / "other", instance.uri)
    refused: list[dict[str, Any]] = []
    kept = at_step(app, "copy_packages", lambda: refused.append(other.refused("create")))
    operation = backups.orders.run(app, verbs.create.order(ADA)).operation
    assert kept is not None
    (error,) = refused
    assert error["code"] == "busy"
    assert f"create {operation} by ada" in error["message"]
    assert "HEXHUB_BACKUP_PATH" in error["message"]
    assert other.backups("create")["state"] == "completed"


HOLD = """
import sys, time, sqlalchemy
from hexhub_backup.history.store import Catalog
engine = sqlalchemy.create_engine(sys.argv[1])
with Catalog(lambda: engine).alone():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.sample
def test_the_lock_of_a_killed_process_blocks_nobody(app: Flask, instance: Instance) -> None:
    catalog = backups_of(app).catalog
    command = [sys.executable, "-c", HOLD, str(instance.uri)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError), catalog.alone():
            pass
        process.kill()
    with catalog.alone():
        pass


def test_the_lock_takes_no_place_in_the_hosts_pool(app: Flask) -> None:
    pool: Any = db.engine.pool
    taken = pool.checkedout()
    with backups_of(app).catalog.alone():
        assert pool.checkedout() == taken


@pytest.mark.sample
def test_two_hosts_make_the_tables_at_once(postgresql: Server) -> None:
    uri = postgresql.create()
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor() as pool:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({0x6865_7862}::bigint << 32)")
            catalogs = [Catalog(lambda: engine) for _ in range(3)]
            made = [pool.submit(catalog.create_tables) for catalog in catalogs]
            wait_until(waiting, postgresql, len(made))
        for each in made:
            each.result()
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())


# --- a database that goes away -----------------------------------------------------------


@pytest.mark.sample
def test_a_create_whose_connections_end_fails_and_the_next_one_does_not(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server
) -> None:
    kept = at_step(app, "export_releases", lambda: postgresql.disconnect(str(instance.uri)))
    with pytest.raises(DatabaseError, match=r"was lost .*Start again when it is back"):
        backups.orders.run(app, verbs.create.order(ADA))
    (row,) = backups.history.backups()
    assert row.state == "failed"
    assert "was lost" in str(row.reason)
    assert instance.leftovers() == []
    signals.operation_step.disconnect(kept, app)
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["warning_count"] == 0


def test_a_server_that_was_restarted_in_between_is_not_noticed(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    backups.orders.run(app, verbs.create.order(ADA))
    postgresql.stop()
    postgresql.start()
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["warning_count"] == 0


def restored(backups: Backups, app: Flask, instance: Instance) -> tuple[str, Any]:
    """A backup, and the state of a registry that has lost a release and a file since."""
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    with instance.database() as connection:
        connection.exec_driver_sql("DELETE FROM releases WHERE id = 1")
        connection.exec_driver_sql("UPDATE users SET email = 'other@example.org' WHERE id = 2")
    next(instance.storage.rglob("*.tar.gz")).unlink()
    return backup, instance.registry()


@pytest.mark.parametrize("step", ["restore_releases", "place_files"])
def test_a_server_that_stops_in_a_restore_leaves_all_or_nothing(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server, step: str
) -> None:
    backup, before = restored(backups, app, instance)
    job = planned(app, backup)
    kept = at_step(app, step, postgresql.stop)
    with pytest.raises(BackupError) as caught:
        backups.orders.run(app, job)
    assert "parameters" not in str(caught.value)
    with pytest.raises(DatabaseError):
        backups.orders.run(app, verbs.create.order(ADA))
    signals.operation_step.disconnect(kept, app)
    postgresql.start()
    backups.prepare(app)
    operation = backups.history.operations()[0]
    assert operation.verb == "restore"
    assert instance.leftovers() == []
    if step == "place_files":
        assert operation.state == "completed"
        assert len(instance.rows()["releases"]) == len(before[0]["releases"]) + 1
    else:
        assert (operation.state, operation.reason) == ("failed", str(caught.value))
        assert instance.registry() == before


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_that_is_lost_in_the_commit_of_a_decision(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server, committed: bool
) -> None:
    backup, before = restored(backups, app, instance)
    deciding: list[sa.Connection] = []

    def lose(connection: sa.Connection) -> None:
        """The answer to the COMMIT of the decision does not arrive."""
        if connection in deciding:
            driver: Any = connection.connection.driver_connection
            if committed:
                driver.commit()
            driver.close()

    def seen(connection: sa.Connection, _: Any, statement: str, *more: Any) -> None:
        if statement.startswith("LOCK TABLE"):
            deciding.append(connection)

    job = planned(app, backup)
    sa.event.listen(db.engine, "before_cursor_execute", seen)
    sa.event.listen(db.engine, "commit", lose)
    if committed:
        assert backups.orders.run(app, job).outcome["records"]["releases"]["created"] == 1
    else:
        with pytest.raises(DatabaseError, match="nothing was changed"):
            backups.orders.run(app, job)
        assert instance.registry() == before
    assert len(deciding) == 1
    assert instance.leftovers() == []


def test_recovery_waits_for_a_decision_that_is_still_being_committed(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server
) -> None:
    """Its process is dead, and its COMMIT on the way."""
    operation = backups.orders.run(app, verbs.create.order(ADA)).operation
    catalog = backups.catalog
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with ThreadPoolExecutor() as pool:
        with instance.database() as dead:
            decided = sa.update(operations).where(operations.c.id == operation)
            dead.execute(decided.values(decided_at=sa.func.now(), state="running"))

            def asks(question: Callable[[str], Any]) -> Any:
                with app.app_context():
                    return question(operation)

            decided_at_last = pool.submit(asks, RunDecisions(catalog.engine, "").decided)
            claimed = pool.submit(asks, lambda name: catalog.claim(name, "recovery's"))
            wait_until(waiting, postgresql, 2)
        assert decided_at_last.result() is True
        assert claimed.result().decided_at is not None
    assert [each.id for each in catalog.unsettled_operations()] == [operation]


def test_a_server_that_restarts_when_an_operation_ends_loses_nothing(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    failed = 0

    def start(_: object) -> None:
        nonlocal failed
        failed += 1
        if failed == 2:
            postgresql.start()

    def stop(_: Any, **extra: Any) -> None:
        postgresql.stop()
        sa.event.listen(db.engine, "handle_error", start)

    signals.backup_created.connect(stop, app)
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    assert failed >= 2
    assert backups.catalog.operation(made).state == "completed"
    assert backups.history.backup(made).state == "completed"
    signals.backup_created.disconnect(stop, app)
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]


def test_a_restore_whose_lock_was_lost_decides_nothing(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server, tmp_path: Path
) -> None:
    """The connection that holds it ends, and another host, with a directory of its own, ends the
    operation meanwhile."""
    other = Instance(tmp_path / "other", instance.uri)
    backup, before = restored(backups, app, instance)
    order = planned(app, backup)
    lock = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        f"(SELECT oid FROM pg_database WHERE datname = '{name_of(str(instance.uri))}')"
    )
    made: list[str] = []

    def lose() -> None:
        assert postgresql.execute(lock) == [(True,)]
        made.append(other.backups("create")["id"])

    kept = at_step(app, "restore_owners", lose)
    with pytest.raises(InterruptedOperationError, match="had lost its lock: nothing was changed"):
        backups.orders.run(app, order)
    assert kept is not None
    assert instance.registry() == before
    assert instance.leftovers() == []
    found = backups.catalog.operation(order.id)
    assert (found.state, found.decided_at) == ("interrupted", None)
    assert "stopped unexpectedly" in str(found.reason)
    assert backups.catalog.operation(made[0]).state == "completed"
