"""Connections of the host's engine: made here alone, and given back as they were.

Our timeouts hold on them instead of the host's, their statements are compiled outside of the
engine's cache, and no error or log line of theirs has parameters. Transactions begin and end as
they are told to: SQLite's driver begins them late and on its own, and a host may have `begin`
events beside that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hexhub_backup import database_errors
from hexhub_backup.database_errors import ERRORS, is_lost, summary, translated
from hexhub_backup.errors import DatabaseError

_Steps = list[Callable[[], object]]


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


def clean_up(connection: sa.Connection, *steps: Callable[[], object]) -> None:
    """Take steps that leave a connection in order. Raises nothing, so that what led here is what
    is told: a connection on which a step fails is not used again."""
    try:
        if not (connection.closed or connection.invalidated):
            for step in steps:
                step()
    except Exception:
        with suppress(Exception):
            connection.invalidate()


def _close(connection: sa.Connection) -> None:
    with suppress(Exception):
        connection.close()


def _connect(engine: sa.Engine) -> tuple[sa.Connection, _Steps]:
    """A connection that works, and what gives it back as it was."""
    # Shares the host's pool and events. A cache of its own: ours would push the host's
    # statements out of the engine's, and are not asked for again.
    ours = engine.execution_options(compiled_cache={})
    ours.hide_parameters = True
    connection = ours.connect()
    try:
        take = _take_postgresql if engine.dialect.name == "postgresql" else _take_sqlite
        return connection, take(connection)
    except BaseException:
        clean_up(connection, connection.rollback)
        _close(connection)
        raise


def _take_postgresql(connection: sa.Connection) -> _Steps:
    """Make a transaction be one, in READ COMMITTED, whatever the engine's own isolation level is,
    AUTOCOMMIT and SERIALIZABLE included; and nothing end the session between two of them."""
    with connection.begin():
        shown = "SELECT current_setting('idle_session_timeout')"
        before = connection.exec_driver_sql(shown).scalar_one()
    isolate(connection, isolation_level="READ COMMITTED")
    if before == "0":
        return []

    def idle(timeout: str) -> None:
        with connection.begin():
            connection.exec_driver_sql(
                f"SELECT set_config('idle_session_timeout', '{timeout}', false)"
            )

    idle("0")
    return [connection.rollback, partial(idle, before)]


def isolate(connection: sa.Connection, **options: Any) -> None:
    """Set what the driver sets for the transactions of a connection; its pool puts it back."""
    with _lost(connection):
        connection.execution_options(**options)


@contextmanager
def _lost(connection: sa.Connection) -> Iterator[None]:
    """Around what raises, of a connection that is lost, what SQLAlchemy lets through."""
    try:
        yield
    except (connection.dialect.loaded_dbapi.Error, ConnectionError) as error:
        raise DBAPIError(
            None, None, error, hide_parameters=True, connection_invalidated=True
        ) from None


def _take_sqlite(connection: sa.Connection) -> _Steps:
    """Make the driver leave transactions alone, and wait as long as we do."""
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        raise DatabaseError(
            "The only connection to the database is in the middle of a transaction: commit or "
            "roll back first"
        )
    before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute(f"PRAGMA busy_timeout = {database_errors.LOCK_TIMEOUT:d}")
    # Since Python 3.12 a connection can be in the mode of PEP 249, always in a transaction.
    name, ours = "isolation_level", None
    if getattr(driver, "autocommit", None) is False:
        driver.rollback()
        name, ours = "autocommit", True
    host = getattr(driver, name)
    setattr(driver, name, ours)
    # The host's `begin` event fires on the first use: what it began is not ours.
    connection.begin()
    _end_sqlite(driver)
    return [
        partial(_end_sqlite, driver),
        connection.rollback,
        partial(setattr, driver, name, host),
        partial(driver.execute, f"PRAGMA busy_timeout = {before:d}"),
    ]


def _end_sqlite(driver: Any) -> None:
    # Some errors (a full disk) have rolled back already.
    if driver.in_transaction:
        driver.execute("ROLLBACK")


@contextmanager
def transaction(connection: sa.Connection, mode: str = "DEFERRED") -> Iterator[None]:
    """A transaction on a connection of `connected`; `mode` is SQLite's."""
    if connection.dialect.name == "postgresql":
        begun = connection.begin()
        commit: Callable[[], object] = begun.commit
        rollback = begun.rollback
        first = _timeouts(connection)
    else:
        driver: Any = connection.connection.driver_connection
        commit, rollback = (
            partial(connection.exec_driver_sql, "COMMIT"),
            partial(_end_sqlite, driver),
        )
        first = f"BEGIN {mode}"
    try:
        with _lost(connection):
            connection.exec_driver_sql(first)
        yield
        with _lost(connection):
            commit()
    except BaseException:
        clean_up(connection, rollback)
        raise


def _timeouts(connection: sa.Connection) -> str:
    """What sets ours until the end of the transaction, and the host's again with it."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if (connection.dialect.server_version_info or ()) >= (17,):
        names.append("transaction_timeout")
    ours = {**dict.fromkeys(names, 0), "lock_timeout": database_errors.LOCK_TIMEOUT}
    return "SELECT " + ", ".join(
        f"set_config('{name}', '{value:d}', true)" for name, value in ours.items()
    )


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
