"""The host's engine stays as it was, and its timeouts end no operation."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import User, db
from hexhub_backup import signals, verbs
from hexhub_backup.databases import connections
from hexhub_backup.errors import RefusedError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support.hosts import planned
from tests.support.patience import PATIENCE
from tests.support.postgres import Server, name_of

pytestmark = pytest.mark.usefixtures("database", "host")

ADA = Who(actor="ada")
#: Milliseconds: what a host may set so that no request of its own takes long.
TINY = {
    "statement_timeout": 150,
    "idle_in_transaction_session_timeout": 150,
    "idle_session_timeout": 150,
    "lock_timeout": 20,
}
LONGER = 0.4
ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PATIENCE}
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def change(app: Flask) -> None:
    """What a restore of the backup before has to bring back."""
    with db.engine.begin() as connection:
        # Not of who holds a right: to undo that is for a grant.
        changed = sa.update(User).where(User.is_admin.is_(False))
        connection.execute(changed.values(email=User.username + "@elsewhere.example"))
        connection.exec_driver_sql("DELETE FROM releases WHERE id = 1")


# --- the cache ---------------------------------------------------------------------------


def test_no_operation_leaves_a_statement_in_the_hosts_cache(app: Flask) -> None:
    backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
    cache: Any = db.engine._compiled_cache
    with app.app_context():
        # What the host itself says here.
        change(app)
    before = set(cache)
    restored = backups_of(app).orders.run(app, planned(app, backup))
    backups_of(app).orders.run(
        app, verbs.undo.order(backups_of(app).history, ADA, restored.operation)
    )
    backups_of(app).orders.run(app, verbs.verify.order(backups_of(app).history, ADA, backup))
    backups_of(app).orders.run(app, verbs.prune.order(ADA))
    ours = [str(key[1]) for key in set(cache) - before if "hexhub_backup" in str(key[1])]
    assert ours == []
    # The receivers of the host's own say a few things, once.
    assert len(cache) - len(before) < 5


def test_what_was_said_to_a_database_before_is_not_compiled_again(app: Flask) -> None:
    """To compile what a plan asks takes longer than a small registry takes to answer."""
    backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation

    def restore_and_undo() -> None:
        change(app)
        restored = backups_of(app).orders.run(app, planned(app, backup)).operation
        backups_of(app).orders.run(app, verbs.undo.order(backups_of(app).history, ADA, restored))

    restore_and_undo()
    before = set(connections._compiled[db.engine])
    restore_and_undo()
    assert [str(key[1]) for key in set(connections._compiled[db.engine]) - before] == []


# --- timeouts ----------------------------------------------------------------------------


def slow_host(app: Flask, server: Server) -> None:
    """Timeouts on the database and triggers that take longer than they allow."""
    with db.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN PERFORM pg_sleep({LONGER}); RETURN NULL; END'"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER slow AFTER INSERT OR UPDATE OR DELETE ON releases "
            "FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
    for name, value in TINY.items():
        server.execute(f"ALTER DATABASE {name_of(str(db.engine.url))} SET {name} = {value}")
    db.session.remove()
    db.engine.dispose()


def settings(connection: sa.Connection) -> dict[str, str]:
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in TINY}


def dawdle(_: Flask, *, event: dict[str, Any], **extra: Any) -> None:
    if event["state"] == "running":
        time.sleep(LONGER)


@POSTGRESQL
def test_operations_outlast_the_timeouts_of_the_host(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    change(app)
    slow_host(app, postgresql)
    # Between two steps an operation is idle: in a transaction, or out of one with staged rows.
    signals.operation_step.connect(dawdle, app)
    backups.orders.run(app, verbs.create.order(ADA))
    restored = backups.orders.run(app, planned(app, backup))
    assert restored.outcome["records"]["releases"]["created"] == 1
    backups.orders.run(app, verbs.undo.order(backups.history, ADA, restored.operation))
    assert {each.state for each in backups.history.operations()} == {"completed"}


@POSTGRESQL
def test_a_decision_waits_for_longer_than_the_host_would(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    change(app)
    slow_host(app, postgresql)
    job = planned(app, backup)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    engine = sa.create_engine(db.engine.url, poolclass=sa.NullPool)
    with engine.connect() as holder, ThreadPoolExecutor(1) as thread:
        holder.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
        holder.exec_driver_sql("UPDATE packages SET downloads = 1 WHERE id = 1")

        def run() -> Any:
            with app.app_context():
                return backups.orders.run(app, job)

        restored = thread.submit(run)
        deadline = time.monotonic() + PATIENCE
        while postgresql.execute(waiting) == [(0,)]:
            assert time.monotonic() < deadline, "nobody waited"
            assert not restored.done(), restored.result()
        time.sleep(LONGER)
        holder.rollback()
        assert restored.result().outcome["records"]["releases"]["created"] == 1


@pytest.mark.sample
@POSTGRESQL
@pytest.mark.host(config={"SQLALCHEMY_ENGINE_OPTIONS": ONE})
@pytest.mark.parametrize("fails", [False, True])
def test_connections_are_given_back_as_they_were(app: Flask, backups: Backups, fails: bool) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    db.engine.dispose()

    @sa.event.listens_for(db.engine, "connect")
    def set_up(driver: Any, _: object) -> None:
        with driver.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = '1h'")
            cursor.execute("SET statement_timeout = '7s'")
            cursor.execute("SET lock_timeout = '8s'")
        driver.commit()

    with db.engine.connect() as connection:
        before = settings(connection)
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    change(app)
    job = planned(app, backup)
    if fails:
        with db.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE releases ADD CHECK (id < 0) NOT VALID")
        with pytest.raises(RefusedError) as caught:
            backups.orders.run(app, job)
        assert ["CHECK constraint" in fault.message for fault in caught.value.faults] == [True]
    else:
        backups.orders.run(app, job)
    with db.engine.connect() as connection:
        assert settings(connection) == before
        # The lock has taken one out of the pool, so that this is another one, or the same.
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != pid
        assert connection.get_isolation_level() == "READ COMMITTED"
