"""Connections of the host's engine: made here alone, and given back as they were.

Our timeouts hold on them instead of the host's, their statements are compiled into a cache of
ours beside the engine's, and no error or log line of theirs has parameters. Transactions begin
and end as they are told to: drivers begin them late and on their own, and a host may have `begin`
events beside that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import LRUCache

from hexhub_backup.databases.base import SHARED, Mode, Steps, clean_up, driver_errors
from hexhub_backup.databases.errors import ERRORS, is_lost, summary, translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError, MappingError

#: What was compiled for an engine: as many statements as SQLAlchemy itself keeps.
_compiled: WeakKeyDictionary[sa.Engine, LRUCache[Any, Any]] = WeakKeyDictionary()


def refuse_unusable(engine: sa.Engine, tables: Collection[sa.Table]) -> bool:
    """Raise MappingError for an engine that an operation can't work with; see
    `base.Database.refuse_unusable`."""
    database = database_of(engine)
    if isinstance(engine.pool, StaticPool):
        raise MappingError(SHARED)
    return database.refuse_unusable(engine, tables)


@contextmanager
def connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection without a transaction, for `transaction`. Raises DatabaseError.

    What is open when it is left is rolled back. A pool keeps its connections when the server
    restarts: a dead one is thrown away, with all others of its age, and a new one made.
    """
    with translated("The database can not be reached"):
        try:
            connection, give_back = _connect(engine)
        except ERRORS as error:
            if not is_lost(error):
                raise
            connection, give_back = _connect(engine)
    try:
        yield connection
    except SQLAlchemyError as error:
        raise DatabaseError(f"The database can not be used: {summary(error)}") from None
    finally:
        clean_up(connection, *give_back)
        _close(connection)


def _close(connection: sa.Connection) -> None:
    with suppress(Exception):
        connection.close()


def _connect(engine: sa.Engine) -> tuple[sa.Connection, Steps]:
    """A connection that works, and what gives it back as it was."""
    # Shares the host's pool and events, but not its cache: our statements would push the host's
    # out of that.
    ours = engine.execution_options(compiled_cache=_compiled.setdefault(engine, LRUCache(500)))
    ours.hide_parameters = True
    connection = ours.connect()
    try:
        return connection, database_of(engine).take(connection)
    except BaseException:
        clean_up(connection, connection.rollback)
        _close(connection)
        raise


@contextmanager
def transaction(connection: sa.Connection, mode: Mode = "any") -> Iterator[None]:
    """A transaction on a connection of `connected`."""
    with driver_errors(connection):
        commit, rollback = database_of(connection).begin(connection, mode)
    try:
        yield
        with driver_errors(connection):
            commit()
    except BaseException:
        clean_up(connection, rollback)
        raise


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose reads all see one moment, and which can not write."""
    with connected(engine) as connection, transaction(connection, "snapshot"):
        yield connection


@contextmanager
def decision(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[None]:
    """The transaction in which nobody else writes to `tables`, durable when it is left."""
    database = database_of(connection)
    with database.durable(connection), transaction(connection, "decision"):
        database.keep_writers_out(connection, tables)
        yield


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """Undo what happens inside where it raises; only within a transaction."""
    say = connection.exec_driver_sql
    release = partial(say, "RELEASE SAVEPOINT hexhub_backup")
    say("SAVEPOINT hexhub_backup")
    try:
        yield
    except BaseException:
        clean_up(connection, partial(say, "ROLLBACK TO SAVEPOINT hexhub_backup"), release)
        raise
    release()
