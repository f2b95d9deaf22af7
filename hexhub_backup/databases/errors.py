"""What a database's error says, in our words: its own may hold values of rows, secrets among them.

PostgreSQL quotes values in its messages and whole rows in its details, MariaDB quotes the value
that is there twice, and a trigger may say anything. So each database's file chooses a sentence by
the error's code, and takes over nothing but names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hexhub_backup.databases import sentences
from hexhub_backup.databases.base import Failure
from hexhub_backup.databases.known import DATABASES, database_of
from hexhub_backup.errors import DatabaseError
from hexhub_backup.marking import marked

#: What a statement may raise: SQLAlchemy lets the latter of pg8000 through.
ERRORS = (SQLAlchemyError, ConnectionError)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise DatabaseError for what SQLAlchemy raises; `doing` says what could not be done. Not
    around what may speak to another server: a lost connection to that would be the database's."""
    try:
        yield
    except ERRORS as error:
        # Not chained: its text, statement and parameters would be in the traceback.
        raise DatabaseError(f"{doing}: {summary(error)}") from None


def summary(error: Exception) -> str:
    """What happened and what to do now, without any value."""
    if isinstance(error, PoolTimeoutError):
        return marked(
            "every connection of the app's pool is in use. Start again when some are free; if "
            "that does not help, let pool_size and max_overflow allow more."
        )
    what, then = sentences.LOST if is_lost(error) else _refused(error)
    return f"{_with_names(what, error)}. {then}"


def refusal(error: SQLAlchemyError, connection: sa.Connection) -> str:
    """Why a database does not take a row, without any value. Raises SQLAlchemyError."""
    failure = _failure(error)
    claims = set() if failure is None else {*failure.claims}
    known = claims & database_of(connection).constraints(connection) if claims else claims
    return _with_names(_refused(error)[0], error, *(f"constraint {name}" for name in known))


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone. SQLAlchemy does not always know when pg8000 says so, and
    only complains of the transaction that is left."""
    if isinstance(error, DBAPIError):
        failure = _failure(error)
        return error.connection_invalidated or (failure is not None and failure.cause == "lost")
    return isinstance(error, (PendingRollbackError, ConnectionError))


def is_of_a_value(error: Exception) -> bool:
    """Whether another value might have been taken: false where the connection, the server or a
    lock stood in the way."""
    return _may_be_of(error, "record", "statement")


def is_of_the_record(error: Exception) -> bool:
    """Whether the same statement might have taken another record."""
    return _may_be_of(error, "record")


def is_not_text(error: Exception) -> bool:
    """Whether a stored text has no value, such as bytes that are not UTF-8."""
    failure = _failure(error)
    return failure is not None and failure.not_text


def _may_be_of(error: Exception, *causes: str) -> bool:
    if is_lost(error):
        return False
    if not isinstance(error, DBAPIError):
        return not isinstance(error, SQLAlchemyError) or isinstance(error, StatementError)
    failure = _failure(error)
    if failure is not None:
        return failure.cause in causes
    return not isinstance(error, OperationalError)


def _failure(error: Exception) -> Failure | None:
    orig = error.orig if isinstance(error, DBAPIError) else None
    if orig is None:
        return None
    failures = (database.failure(orig) for database in DATABASES.values())
    return next(filter(None, failures), None)


def _refused(error: Exception) -> tuple[str, str]:
    failure = _failure(error)
    if failure is not None:
        return failure.what, failure.then
    if not isinstance(error, DBAPIError):
        fits = not isinstance(error, StatementError)
        return sentences.NOT_DONE if fits else sentences.NO_VALUE_OF_TYPE
    if error.statement is None:
        return sentences.NO_CONNECTION
    return sentences.REFUSED


def _with_names(what: str, error: Exception, *more: str) -> str:
    """With the names of the schema that an error is about, and its own."""
    if isinstance(error, PendingRollbackError):
        return marked(f"{what} (in an earlier statement)")
    failure = _failure(error)
    orig = error.orig if isinstance(error, DBAPIError) else None
    code = None if failure is None else failure.code
    known = () if failure is None else failure.names
    names = ", ".join([*known, *more, code or type(orig or error).__name__])
    return marked(f"{what} ({names})")
