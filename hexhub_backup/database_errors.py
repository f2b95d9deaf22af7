"""What a database's error says, in our words: its own may hold values of rows, secrets among them.

PostgreSQL quotes values in its messages and whole rows in its details, pg8000 hands over all of
that, and a trigger may say anything. So the sentence is chosen by the error's code, and only
names of constraints, tables and columns are taken over from its structured fields.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import (
    DBAPIError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hexhub_backup.errors import DatabaseError

#: How long we wait for what others hold locked, in milliseconds: less than the 30 seconds after
#: which a server such as gunicorn ends a worker that does not answer.
LOCK_TIMEOUT = 20_000

_AGAIN = "Start again."
_FIX = "Fix that and start again."
#: SQLSTATEs, or their classes, of PostgreSQL: what happened, and what to do.
_POSTGRESQL = {
    "22001": ("a value is too long for its column", _FIX),
    "22003": ("a number is outside the range of its column", _FIX),
    "22": ("a value does not fit its column", _FIX),
    "23502": ("a column that must not be null would be", _FIX),
    "23503": ("a row would refer to one that is not there", _FIX),
    "23505": ("two rows would have the same value where it has to be unique", _FIX),
    "23514": ("a CHECK constraint does not allow a row", _FIX),
    "23": ("a constraint does not allow a row", _FIX),
    "25006": ("the database can only be read, as a standby can", _FIX),
    "28": ("the server does not let this user in", _FIX),
    "3D": ("there is no database of this name", _FIX),
    "40P01": ("it and something else waited for each other", _AGAIN),
    "40": ("something else changed the same rows meanwhile", _AGAIN),
    "42501": ("the role lacks a right", "Grant it and start again."),
    "42703": ("a column is not there", _FIX),
    "42P01": ("a table is not there", _FIX),
    "53100": ("the disk of the database is full", "Make room there and start again."),
    "53300": ("the server takes no more connections", "Start again when some have ended."),
    "53": ("the server has run out of memory or room", _FIX),
    "57014": ("somebody cancelled the statement in the database", _AGAIN),
    "58": ("the server failed", "See its log."),
    "P0": ("a trigger or function of the database does not allow it", _FIX),
    "XX": ("the server failed", "See its log."),
}
_LOST_STATES = ("08", "57P", "25P03", "25P04")
#: Classes of SQLSTATEs that say nothing of a value.
_OF_THE_SERVER = ("08", "25", "28", "40", "53", "55", "57", "58", "XX")
#: Beginnings of SQLite's messages.
_SQLITE = {
    "attempt to write a readonly database": ("the database file can not be written", _FIX),
    "database or disk is full": (
        "the disk of the database is full",
        "Make room there and start again.",
    ),
    "disk I/O error": ("the disk of the database failed", _FIX),
    "database disk image is malformed": ("the database file is damaged", _FIX),
    "file is not a database": ("the database file is damaged", _FIX),
    "unable to open database file": ("the database file can not be opened", _FIX),
    "FOREIGN KEY constraint failed": ("a row would refer to one that is not there", _FIX),
    "Could not decode to UTF-8": ("a text in the database is not UTF-8", _FIX),
}
#: Messages of SQLite that hold nothing but names of the schema.
_NAMES_ONLY = re.compile(
    r"(UNIQUE|NOT NULL) constraint failed: (\w+\.\w+(, \w+\.\w+)*|index '\w+')"
    r"|CHECK constraint failed: \w+|no such (table|column): [\w.]+"
)


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
        return (
            "every connection of the app's pool is in use. Start again when some are free; if "
            "that does not help, let pool_size and max_overflow allow more."
        )
    orig = error.orig if isinstance(error, DBAPIError) else None
    state, about = _fields(orig).get("SQLSTATE"), _about(error)
    if is_lost(error):
        return f"the connection to the database was lost{about}. Start again when it is back."
    if is_locked(error):
        locked = f"has been kept locked for {LOCK_TIMEOUT / 1000:g} seconds"
        if state is None:
            return (
                f"the database {locked}{about} by something else: another process of the app, a "
                "backup tool, or a database browser with changes that are not saved. End it and "
                "start again."
            )
        return (
            f"something else has kept the tables locked for {LOCK_TIMEOUT / 1000:g} seconds"
            f"{about}. End it (pg_stat_activity shows it) and start again."
        )
    what, then = _refused(error)
    return f"{what}{about}. {then}"


def refusal(error: SQLAlchemyError) -> str:
    """Why a database does not take a row, without any value."""
    return f"{_refused(error)[0]}{_about(error)}"


def _refused(error: Exception) -> tuple[str, str]:
    orig = error.orig if isinstance(error, DBAPIError) else None
    state = _fields(orig).get("SQLSTATE")
    what, then = "the database refused it", _FIX
    if orig is None:
        fits = not isinstance(error, StatementError)
        what = "SQLAlchemy could not do it" if fits else "a value does not fit its column's type"
    elif isinstance(orig, sqlite3.Error):
        what, then = _of_sqlite(orig) or (what, then)
    elif state is not None:
        what, then = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or (what, then)
    elif getattr(error, "statement", None) is None:
        what = "no connection could be made"
        then = "See that the server runs and lets this user in, and start again."
    return what, then


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone. SQLAlchemy does not always know when pg8000 says so, and
    only complains of the transaction that is left."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        return error.connection_invalidated or bool(state and state.startswith(_LOST_STATES))
    return isinstance(error, (PendingRollbackError, ConnectionError))


def is_locked(error: Exception) -> bool:
    """Whether something else held what was wanted for longer than `LOCK_TIMEOUT`."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return re.match(r"database (\w+ )?is locked", str(error.orig)) is not None
    return sqlstate(error) == "55P03"


def is_of_a_value(error: Exception) -> bool:
    """Whether another value might have been taken: false where the connection, the server or a
    lock stood in the way."""
    if is_lost(error):
        return False
    if not isinstance(error, DBAPIError):
        return not isinstance(error, SQLAlchemyError) or isinstance(error, StatementError)
    state = sqlstate(error)
    if state is not None:
        return not state.startswith(_OF_THE_SERVER)
    return not isinstance(error, OperationalError)


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code of what happened; None where it said none."""
    return _fields(error.orig).get("SQLSTATE")


def _about(error: Exception) -> str:
    """The names of the schema that an error is about, and its own."""
    if isinstance(error, PendingRollbackError):
        return " (in an earlier statement)"
    orig = error.orig if isinstance(error, DBAPIError) else None
    fields = _fields(orig)
    state = fields.pop("SQLSTATE", None)
    name = state or getattr(orig, "sqlite_errorname", None) or type(orig or error).__name__
    # What a trigger or function raises may name whatever it likes.
    trusted = state is not None and state[:2] in ("22", "23", "42")
    names = [f"{key} {value}" for key, value in fields.items() if value and trusted]
    return f" ({', '.join([*names, name])})"


def _fields(orig: BaseException | None) -> dict[str, Any]:
    """The structured fields of a driver's error that hold no values."""
    if orig is None:
        return {}
    said = orig.args[0] if orig.args else None
    if isinstance(said, dict):
        names = {"constraint": "n", "table": "t", "column": "c", "SQLSTATE": "C"}
        return {name: said.get(key) for name, key in names.items()}
    diag = getattr(orig, "diag", None)
    fields: dict[str, Any] = {
        name: getattr(diag, f"{name}_name", None) for name in ("constraint", "table", "column")
    }
    # psycopg 3 and psycopg2 do not agree on its name.
    fields["SQLSTATE"] = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return fields


def _of_sqlite(orig: sqlite3.Error) -> tuple[str, str] | None:
    text = str(orig)
    if getattr(orig, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_TRIGGER":
        return "a trigger of the database does not allow it", _FIX
    if _NAMES_ONLY.fullmatch(text):
        return text, _FIX
    return next((found for start, found in _SQLITE.items() if text.startswith(start)), None)
