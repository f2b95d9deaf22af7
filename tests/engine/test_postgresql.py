"""PostgreSQL under a whole operation: its lock, and what is left when it goes away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import db
from examples.host_app.seed import seed
from hexhub_backup import signals
from hexhub_backup.errors import BackupError, BusyError, DatabaseError
from hexhub_backup.history.models import metadata, operations
from hexhub_backup.history.store import Catalog
from hexhub_backup.jobs.verbs import Backups, Who
from tests.engine.hosts import planned
from tests.instance import Instance
from tests.postgres import Server

ADA = Who(actor="ada")


def backups_of(app: Flask) -> Backups:
    found: Backups = app.extensions["hexhub_backup"]
    return found


@pytest.fixture
def instance(tmp_path: Path, postgresql: Server) -> Instance:
    return Instance(tmp_path / "host", postgresql.create())


@pytest.fixture
def app(instance: Instance) -> Iterator[Flask]:
    app = create_app(instance.path, {"SQLALCHEMY_DATABASE_URI": instance.uri})
    with app.app_context():
        seed(users=4, packages=3, releases=2, file_size=0)
        # Its connection is the host's own to lose.
        db.session.remove()
        backups_of(app).prepare(app)
        yield app
        db.session.remove()
        db.engine.dispose()


def at_step(app: Flask, step: str, do: Callable[[], object]) -> Any:
    """Do something when an operation begins a step; the receiver has to be kept."""

    def receiver(_: Flask, *, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == step and event["state"] == "running":
            do()

    signals.operation_step.connect(receiver, app)
    return receiver


def wait_until(sql: str, server: Server, count: int) -> None:
    deadline = time.monotonic() + 30
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
    operation = backups.run(backups.create(app, ADA)).operation
    assert kept is not None
    (error,) = refused
    assert error["code"] == "busy"
    assert f"create {operation} of ada" in error["message"]
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


def test_a_create_whose_connections_end_fails_and_the_next_one_does_not(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server
) -> None:
    kept = at_step(app, "export_releases", lambda: postgresql.disconnect(str(instance.uri)))
    with pytest.raises(DatabaseError, match=r"was lost .*Start again when it is back"):
        backups.run(backups.create(app, ADA))
    (row,) = backups.backups()
    assert row.state == "failed"
    assert "was lost" in str(row.reason)
    assert instance.leftovers() == []
    signals.operation_step.disconnect(kept, app)
    assert backups.run(backups.create(app, ADA)).outcome["warning_count"] == 0


def test_a_server_that_was_restarted_in_between_is_not_noticed(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    backups.run(backups.create(app, ADA))
    postgresql.stop()
    postgresql.start()
    assert backups.run(backups.create(app, ADA)).outcome["warning_count"] == 0


def restored(backups: Backups, app: Flask, instance: Instance) -> tuple[str, Any]:
    """A backup, and the state of a registry that has lost a release and a file since."""
    backup = backups.run(backups.create(app, ADA)).operation
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
        backups.run(job)
    assert "parameters" not in str(caught.value)
    with pytest.raises(DatabaseError):
        backups.run(backups.create(app, ADA))
    signals.operation_step.disconnect(kept, app)
    postgresql.start()
    backups.prepare(app)
    operation = backups.operations()[0]
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
        assert backups.run(job).outcome["records"]["releases"]["created"] == 1
    else:
        with pytest.raises(DatabaseError, match="nothing was changed"):
            backups.run(job)
        assert instance.registry() == before
    assert len(deciding) == 1
    assert instance.leftovers() == []


def test_recovery_waits_for_a_decision_that_is_still_being_committed(
    app: Flask, backups: Backups, instance: Instance, postgresql: Server
) -> None:
    """Its process is dead, and its COMMIT on the way."""
    operation = backups.run(backups.create(app, ADA)).operation
    catalog = backups.catalog
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with ThreadPoolExecutor() as pool:
        with instance.database() as dead:
            decided = sa.update(operations).where(operations.c.id == operation)
            dead.execute(decided.values(decided_at=sa.func.now(), state="running"))
            asked = pool.submit(
                lambda: app.app_context().__enter__() and catalog.decided(operation)
            )
            wait_until(waiting, postgresql, 1)
        assert asked.result() is True
    assert catalog.unsettled_operations(for_good=True) == [operation]


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
    made = backups.run(backups.create(app, ADA)).operation
    assert failed >= 2
    assert backups.catalog.operation(made).state == "completed"
    assert backups.backup(made).state == "completed"
    signals.backup_created.disconnect(stop, app)
    assert backups.run(backups.create(app, ADA)).outcome["manifest"]
