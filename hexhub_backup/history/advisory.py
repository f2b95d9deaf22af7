"""One operation at a time in a database, also where hosts share nothing but that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from hexhub_backup import formatting
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import BusyError
from hexhub_backup.history.tables import operations
from hexhub_backup.marking import marked

#: Seconds. A server notices within moments that a process was killed, and until then holds its
#: locks.
_PATIENCE = 2.0


@contextmanager
def alone(engine: sa.Engine) -> Iterator[None]:
    """Hold the database's lock on a connection of its own: it dies with the process.

    Nothing where the database has none. Raises BusyError, which names the holder, and
    DatabaseError.
    """
    if not database_of(engine).has_lock:
        yield
        return
    with connected(engine) as connection:
        # It is nobody else's from now on: leaving ends the session, and the host's pool is whole.
        connection.detach()
        with translated("The lock in the database can not be taken"):
            _take(connection)
        yield


def _take(connection: sa.Connection) -> None:
    patience = time.monotonic() + _PATIENCE
    while True:
        with transaction(connection):
            if database_of(connection).take_lock(connection, operations):
                return
            if time.monotonic() >= patience:
                raise BusyError(_refusal(connection))
        time.sleep(0.05)


def _refusal(connection: sa.Connection) -> str:
    """Both processes have their own backup directory, else its lock had come first."""
    running = connection.execute(
        sa.select(operations).where(operations.c.state == "running", operations.c.exclusive)
    ).one_or_none()
    if running is None:
        return marked(
            "An operation is still running in this database, from another backup directory: wait "
            "for its end, and give hosts that share a database one HEXHUB_BACKUP_PATH."
        )
    started = formatting.time(running.started_at)
    return marked(
        f"The {running.verb} {running.id} by {running.actor}, begun at {started}, is still running "
        "in this database, from another backup directory: wait for its end, and give hosts that "
        "share a database one HEXHUB_BACKUP_PATH."
    )


def alone_in_transaction(connection: sa.Connection) -> None:
    """Wait for the others who make our tables; until the end of the transaction."""
    database_of(connection).lock_schema(connection)
