"""Connections of the host's engine: alive when they are handed out, their errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hexhub_backup.errors import DatabaseError

#: Wait at most this long for what others hold locked, in milliseconds.
LOCK_TIMEOUT = 30_000
#: PostgreSQL's SQLSTATE of a lock that did not come in time.
_LOCK_NOT_AVAILABLE = "55P03"


def connect(engine: sa.Engine) -> sa.Connection:
    """A connection that works. Raises SQLAlchemyError.

    A pool keeps its connections when the server restarts: a dead one is thrown away, with all
    others of its age, and a new one made. On PostgreSQL a transaction is one, in READ COMMITTED,
    whatever the engine's own isolation level is, AUTOCOMMIT and SERIALIZABLE included.
    """
    if engine.dialect.name != "postgresql":
        return engine.connect()
    try:
        return _checked(engine.connect())
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return _checked(engine.connect())


def _checked(connection: sa.Connection) -> sa.Connection:
    try:
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            connection.exec_driver_sql("SELECT 1")
    except BaseException:
        connection.close()
        raise
    return connection


def limit_waiting(connection: sa.Connection) -> None:
    """Let the transaction fail where it would wait for longer than `LOCK_TIMEOUT`; SQLite has its
    busy timeout."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise DatabaseError for what SQLAlchemy raises; `doing` says what could not be done."""
    try:
        yield
    except SQLAlchemyError as error:
        # Not chained: the statement's parameters would be in the traceback, and they are
        # secrets (password hashes).
        raise DatabaseError(f"{doing}: {summary(error)}") from None


def summary(error: SQLAlchemyError) -> str:
    """What the database said and the mend, without statement, parameters and its details.

    PostgreSQL's DETAIL holds whole rows; the first line of its message holds none.
    """
    if not isinstance(error, DBAPIError) or error.orig is None:
        return f"{type(error).__name__}. Mend that and try again."
    said = str(error.orig).strip().split("\n", 1)[0] or type(error.orig).__name__
    if error.connection_invalidated:
        return f"the connection to the database was lost ({said}). Start again when it is back."
    # The drivers of PostgreSQL do not agree on its name.
    states = (getattr(error.orig, name, None) for name in ("sqlstate", "pgcode"))
    if _LOCK_NOT_AVAILABLE in states:
        return (
            f"something else has kept the tables locked for {LOCK_TIMEOUT // 1000} seconds "
            f"({said}). End it (pg_stat_activity shows it) and start again."
        )
    return f"{said}. Mend that and try again."
