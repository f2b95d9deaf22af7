"""One operation at a time in a PostgreSQL database, also where hosts share nothing but that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from hexhub_backup.database import connected, transaction
from hexhub_backup.database_errors import translated
from hexhub_backup.errors import BusyError
from hexhub_backup.history.models import operations

#: The upper half of our keys; the lower one tells what is locked.
_SPACE = 0x6865_7862
#: Seconds. A server notices within moments that a process was killed, and until then holds its
#: locks.
_PATIENCE = 2.0


@contextmanager
def alone(engine: sa.Engine) -> Iterator[None]:
    """Hold the session's advisory lock on a connection of its own: it dies with the process.

    The key is the table of operations, so that hosts in schemas of their own do not meet. It
    needs a session: a pooler such as PgBouncer has to be in session mode. Nothing where the
    database is not PostgreSQL. Raises BusyError, which names the holder, and DatabaseError.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    with connected(engine) as connection:
        # It is nobody else's from now on: leaving ends the session, and the host's pool is whole.
        connection.detach()
        with translated("The lock in the database can not be taken"):
            _take(connection)
        yield


def _take(connection: sa.Connection) -> None:
    key = f"({_SPACE}::bigint << 32) + '{operations.name}'::regclass::oid::bigint"
    patience = time.monotonic() + _PATIENCE
    while True:
        with transaction(connection):
            if connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar_one():
                return
            if time.monotonic() >= patience:
                raise BusyError(_refusal(connection))
        time.sleep(0.05)


def _refusal(connection: sa.Connection) -> str:
    """Both processes have their own backup directory, else its lock had come first."""
    running = connection.execute(
        sa.select(operations)
        .where(operations.c.state == "running", operations.c.verb.not_in(("verify", "inspect")))
        .order_by(operations.c.started_at.desc())
        .limit(1)
    ).one_or_none()
    who = "An operation"
    if running is not None:
        started = f"{running.started_at:%Y-%m-%d %H:%M:%S} UTC"
        who = f"The {running.verb} {running.id} of {running.actor}, begun at {started},"
    return (
        f"{who} is still running in this database, from another backup directory: wait for its "
        "end, and give hosts that share a database one HEXHUB_BACKUP_PATH."
    )


def alone_in_transaction(connection: sa.Connection) -> None:
    """Wait for the others who make our tables; until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SPACE}::bigint << 32)")
