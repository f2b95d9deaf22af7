"""Connections of the host's engine on which transactions begin and end as they are told to.

SQLite's driver begins them late and on its own, and a host may have its own `begin` events
beside that: here BEGIN is said explicitly, the host's engine and its `connect` events (its
`foreign_keys` pragma) stay in use, and the driver gets its own way back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hexhub_backup.database import LOCK_TIMEOUT, connect, limit_waiting, translated
from hexhub_backup.errors import DatabaseError

#: Rows that are read or written at a time.
BATCH = 1000


@contextmanager
def connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection without a transaction, for `transaction` and `deciding`.

    What is open when it is left is rolled back. Raises DatabaseError.
    """
    with translated("The database can not be reached"):
        connection = connect(engine)
    try:
        if engine.dialect.name != "sqlite":
            yield connection
            return
        driver: Any = connection.connection.driver_connection
        give_back = _take_over(driver)
        try:
            # The host's `begin` event fires on the first use: what it began is not ours.
            with translated("The database can not be reached"):
                connection.begin()
            if driver.in_transaction:
                driver.rollback()
            yield connection
        finally:
            if not connection.invalidated:
                _give_back(connection, driver, give_back)
    finally:
        connection.close()


def _give_back(connection: sa.Connection, driver: Any, give_back: Callable[[], None]) -> None:
    """Leave the connection as it was found; one on which that fails is not used again."""
    try:
        if driver.in_transaction:
            driver.rollback()
        connection.rollback()
        give_back()
    except (SQLAlchemyError, connection.dialect.loaded_dbapi.Error):
        connection.invalidate()


def _take_over(driver: Any) -> Callable[[], None]:
    """Make the SQLite driver leave transactions alone; returns what undoes that."""
    # Since Python 3.12 a connection can be in the mode of PEP 249, always in a transaction.
    if getattr(driver, "autocommit", None) is False:
        driver.rollback()
        driver.autocommit = True
        return lambda: setattr(driver, "autocommit", False)
    if driver.in_transaction:
        raise DatabaseError(
            "The only connection to the database is in the middle of a transaction: commit or "
            "roll back first, or use a database in a file instead of in memory"
        )
    before = driver.isolation_level
    driver.isolation_level = None
    return lambda: setattr(driver, "isolation_level", before)


@contextmanager
def transaction(connection: sa.Connection, mode: str = "DEFERRED") -> Iterator[None]:
    """A transaction on a connection of `connected`; `mode` is SQLite's."""
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    driver: Any = connection.connection.driver_connection
    connection.exec_driver_sql(f"BEGIN {mode}")
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        # Some errors (a full disk) have rolled back already.
        if driver.in_transaction:
            connection.exec_driver_sql("ROLLBACK")
        raise


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose reads all see one moment, and which can not write."""
    with connected(engine) as connection:
        if engine.dialect.name == "postgresql":
            # Sets it in place.
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with transaction(connection):
            with translated("The database can not be read"):
                # The moment is that of the first read, not that of BEGIN.
                first = "SELECT count(*) FROM sqlite_master"
                connection.exec_driver_sql(first if engine.dialect.name == "sqlite" else "SELECT 1")
            yield connection


@contextmanager
def deciding(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[None]:
    """The transaction in which nobody else writes to `tables`, durable when it is left."""
    if connection.dialect.name == "sqlite":
        with _pragmas(connection), transaction(connection, "IMMEDIATE"):
            yield
        return
    with transaction(connection):
        if connection.dialect.name == "postgresql":
            preparer = connection.dialect.identifier_preparer
            names = ", ".join(preparer.format_table(table) for table in tables)
            limit_waiting(connection)
            connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        yield


@contextmanager
def _pragmas(connection: sa.Connection) -> Iterator[None]:
    # With WAL and synchronous=NORMAL a power cut takes back the last commits, and the files
    # that were replaced after them would stay.
    wanted = {"synchronous": 2, "busy_timeout": LOCK_TIMEOUT}
    before = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}
    for name, least in wanted.items():
        connection.exec_driver_sql(f"PRAGMA {name} = {max(before[name], least)}")
    try:
        yield
    finally:
        for name, value in before.items():
            connection.exec_driver_sql(f"PRAGMA {name} = {value}")


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """Undo what happens inside where it raises; only within a transaction."""
    connection.exec_driver_sql("SAVEPOINT hexhub_backup")
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT hexhub_backup")
        raise
    finally:
        connection.exec_driver_sql("RELEASE SAVEPOINT hexhub_backup")
