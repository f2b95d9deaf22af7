"""The transactions of a registry: a read of one moment, and a decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import sqlalchemy as sa

from hexhub_backup.database import clean_up, connected, isolate, transaction

#: Rows that are read or written at a time.
BATCH = 1000


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose reads all see one moment, and which can not write."""
    with connected(engine) as connection:
        if engine.dialect.name == "postgresql":
            isolate(connection, isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with transaction(connection):
            if engine.dialect.name == "sqlite":
                # The moment is that of the first read, not that of BEGIN.
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
            yield connection


@contextmanager
def deciding(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[None]:
    """The transaction in which nobody else writes to `tables`, durable when it is left."""
    if connection.dialect.name == "sqlite":
        with _synchronous(connection), transaction(connection, "IMMEDIATE"):
            yield
        return
    with transaction(connection):
        preparer = connection.dialect.identifier_preparer
        names = ", ".join(preparer.format_table(table) for table in tables)
        connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        yield


@contextmanager
def _synchronous(connection: sa.Connection) -> Iterator[None]:
    # With WAL and synchronous=NORMAL a power cut takes back the last commits, and the files
    # that were replaced after them would stay.
    before = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    connection.exec_driver_sql(f"PRAGMA synchronous = {max(before, 2)}")
    try:
        yield
    finally:
        clean_up(connection, partial(connection.exec_driver_sql, f"PRAGMA synchronous = {before}"))
