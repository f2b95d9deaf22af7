"""Short transactions of ours, in the database of the host's models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy.exc import IntegrityError

from hexhub_backup.databases.base import Mode
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import ERRORS, summary
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError

#: Gives the engine of the host's models, in an app context.
GetEngine = Callable[[], Engine]


class _ThereError(Exception):
    """There is such a row."""


@contextmanager
def begin(engine: GetEngine, mode: Mode = "any") -> Iterator[Connection]:
    """A transaction on a connection of its own. Raises DatabaseError.

    End it before anything is yielded to a caller: the host's pool may have no second connection.
    """
    with connected(engine()) as connection:
        try:
            with transaction(connection, mode):
                yield connection
        except ERRORS as error:
            # Not chained: its text, statement and parameters would be in the traceback.
            raise DatabaseError(
                f"The history could not be read or written: {summary(error)} If its tables "
                "are not there, run 'flask backups init-db' or your migration."
            ) from None


def now(engine: GetEngine) -> datetime:
    """The time on the database's clock: that of one machine may be ahead of another's. Raises
    DatabaseError."""
    with begin(engine) as connection:
        return database_of(connection).now(connection)


def add_new(engine: GetEngine, table: Table, values: Mapping[str, Any]) -> bool:
    """Add a row in a transaction of its own. False where there is one with this key: another
    process may have added it meanwhile. Raises DatabaseError."""
    try:
        with begin(engine) as connection:
            try:
                connection.execute(insert(table).values(**values))
            except IntegrityError as error:
                # Not within the transaction: it has to be rolled back first.
                raise _ThereError from error
    except _ThereError:
        return False
    return True
