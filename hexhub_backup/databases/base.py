"""What an operation asks of a database: everything in which databases differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from hexhub_backup.marking import marked

#: How long we wait for what others hold locked, in milliseconds: less than the 30 seconds after
#: which a server such as gunicorn ends a worker that does not answer.
LOCK_TIMEOUT = 20_000

#: Why a database in memory is refused, and a pool of one connection.
SHARED = (
    "The registry's database is in memory, or its engine has one connection for all threads "
    "(StaticPool): what a request rolls back would take a running restore with it, and what a dead "
    "process left could not be found again. Use a database in a file, in tests a temporary one"
)

#: What gives a connection back as it was, in this order.
Steps = list[Callable[[], object]]
#: A transaction that reads or writes, one that writes at once, one that sees a single moment and
#: can't write, and the one of a decision.
Mode = Literal["any", "writing", "snapshot", "decision"]
#: Says why a column can't hold a decoded value; None where it can.
Misfit = Callable[[Any], str | None]

#: What has to be different for an operation to work: another record, another statement, nothing
#: that it could change, a connection that is there again, or somebody else's lock.
Cause = Literal["record", "statement", "server", "lost", "locked"]


@dataclass(frozen=True)
class Failure:
    """What a driver's error means, by its code and the names in it; it holds no value of a row.

    `what` happened, `then` says what to do now. `code` is the database's or the driver's, `names`
    are constraints, tables and columns with their kinds. `claims` are names that a message has,
    and that may as well be values: see `Database.constraints`. `not_text`: a stored text has no
    value.
    """

    cause: Cause
    what: str
    then: str
    code: str | None = None
    names: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    not_text: bool = False


@dataclass(frozen=True)
class ReflectedColumn:
    """A column as the database has it.

    `type` and `collation` are SQL, given where a value has to be cast to compare as the column
    does. `default` is SQL, of a value that the database makes itself any text that is no literal.
    `generated` is the SQL over other columns that it always holds.
    """

    name: str
    type: str | None = None
    collation: str | None = None
    default: str | None = None
    generated: str | None = None


@dataclass(frozen=True)
class IndexPart:
    """SQL over the columns of the table, its collation, and the column where it is nothing else."""

    sql: str
    collation: str | None = None
    column: str | None = None


@dataclass(frozen=True)
class ReflectedIndex:
    """A unique index; `condition` is the SQL of a partial one."""

    name: str | None
    parts: tuple[IndexPart, ...]
    condition: str | None = None
    nulls_distinct: bool = True


class Insertion(sa.Insert):
    """INSERT … SELECT of given values also into columns that the database fills by itself."""

    inherit_cache = True


class Database(Protocol):
    """One kind of database. It keeps nothing: all state is in connections and transactions."""

    #: What people call it.
    name: str
    #: Whether it has a lock that dies with its holder's connection: see `take_lock`.
    has_lock: bool
    #: Whether machines that share nothing else know of each other by it: see `coordination`.
    coordinates: bool
    #: Whether a foreign key is looked at for each row, and not at the end of a statement or later.
    checks_each_row: bool

    def refuse_unusable(self, engine: sa.Engine, tables: Collection[sa.Table]) -> bool:
        """Raise MappingError for an engine, or a database of it, that an operation can't work
        with. `tables` are the host's. Returns whether that is all known: not of a server that
        can't be reached."""
        ...

    # --- connections and transactions: see `connections`

    def take(self, connection: sa.Connection) -> Steps:
        """Make a fresh connection ours: our timeouts, and transactions that begin and end as they
        are told to. Raises DatabaseError, SQLAlchemyError."""
        ...

    def begin(
        self, connection: sa.Connection, mode: Mode
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        """Begin a transaction. Returns what commits and what rolls back."""
        ...

    def durable(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """What commits inside is on the disk, as far as a connection can say so."""
        ...

    def keep_writers_out(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
        """Let nobody else write to `tables` until the transaction ends; the first thing in it.
        Others still read."""
        ...

    def check_constraints(self, connection: sa.Connection) -> None:
        """Look now at what would be looked at on commit."""
        ...

    def take_lock(self, connection: sa.Connection, table: sa.Table) -> bool:
        """Take the lock that is named after one of our tables, or return False: somebody else has
        it. It lasts as long as the connection."""
        ...

    def lock_schema(self, connection: sa.Connection) -> None:
        """Wait for the others who make our tables; until the transaction has ended and the
        connection is given back."""
        ...

    def now(self, connection: sa.Connection) -> datetime:
        """The time, aware, on the clock that all who share the database go by."""
        ...

    # --- temporary tables

    def create_temporary(
        self,
        connection: sa.Connection,
        table: sa.Table,
        like: Mapping[str, sa.Column[Any]],
        indexes: Sequence[sa.Index],
    ) -> None:
        """Create a temporary table, whose columns compare as the host's column in `like`."""
        ...

    def index_temporary(
        self, connection: sa.Connection, table: sa.Table, indexes: Sequence[sa.Index]
    ) -> None:
        """Once it is filled: have queries on it planned well."""
        ...

    def drop_temporary(self, connection: sa.Connection, table: sa.Table) -> None: ...

    # --- SQL and values

    def quote(self, *names: str | None) -> str:
        """Schema, table and column, as far as they are given, for SQL that is text: SQLAlchemy's
        own quoting doubles each `%` for some drivers, and does so again with text."""
        ...

    def in_byte_order(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """What sorts a key as its UTF-8 text does."""
        ...

    def keeps_json_text(self, dialect: sa.Dialect) -> bool:
        """Whether JSON can be read as the very text that the host's values were written as."""
        ...

    def misfit(self, type_: TypeEngine[Any]) -> Misfit | None:
        """What a column of `type_` can't hold, besides what the database itself refuses when it
        is staged; None where that is all."""
        ...

    # --- what the schema says

    def columns(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedColumn]: ...

    def unique_indexes(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedIndex]:
        """Those of constraints and of the primary key too."""
        ...

    def schemas_that_refer(
        self, connection: sa.Connection, tables: Collection[sa.Table]
    ) -> list[str | None]:
        """Where tables may be that refer to the host's `tables`; None is the default schema."""
        ...

    def move_sequences(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, ColumnElement[Any]],
        written: ColumnElement[bool],
    ) -> None:
        """Let no sequence give a value that was written by a restore; never backward. `values` are
        what it wrote, by column of `table`, in the rows that are `written`."""
        ...

    # --- errors: see `errors`

    def constraints(self, connection: sa.Connection) -> frozenset[str]:
        """The names among which a claim of a Failure is one of the schema."""
        ...

    def failure(self, orig: BaseException) -> Failure | None:
        """What a driver's error means; None for one of another database, or without a code."""
        ...


# --- what implementations share ----------------------------------------------------------


class StandardSQL:
    """What the databases do alike that have indexes of their own on temporary tables, and errors
    with fields for names."""

    def constraints(self, connection: sa.Connection) -> frozenset[str]:
        return frozenset()

    def create_temporary(
        self,
        connection: sa.Connection,
        table: sa.Table,
        like: Mapping[str, sa.Column[Any]],
        indexes: Sequence[sa.Index],
    ) -> None:
        # The construct, not Table.create: that would also create and drop native enum types.
        connection.execute(CreateTable(table))

    def index_temporary(
        self, connection: sa.Connection, table: sa.Table, indexes: Sequence[sa.Index]
    ) -> None:
        for index in indexes:
            connection.execute(CreateIndex(index))

    def drop_temporary(self, connection: sa.Connection, table: sa.Table) -> None:
        connection.execute(DropTable(table))

    def quote(self, *names: str | None) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in names if name is not None)


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


@contextmanager
def driver_errors(connection: sa.Connection) -> Iterator[None]:
    """Around what raises, of a connection that is lost, what SQLAlchemy lets through."""
    try:
        yield
    except (connection.dialect.loaded_dbapi.Error, ConnectionError) as error:
        raise DBAPIError(
            None, None, error, hide_parameters=True, connection_invalidated=True
        ) from None


def is_raised_by(orig: BaseException, *drivers: str) -> bool:
    """Whether an error is of one of the drivers, by the beginnings of their modules."""
    return any(each.__module__.startswith(drivers) for each in type(orig).__mro__)


def strict_misfit(type_: TypeEngine[Any]) -> Misfit | None:
    """Of a database that holds a column to its length and its range."""
    if isinstance(type_, sa.Enum):
        return None
    if isinstance(type_, sa.String) and type_.length is not None:
        return partial(_too_long, type_.length)
    if isinstance(type_, sa.Integer):
        small, big = isinstance(type_, sa.SmallInteger), isinstance(type_, sa.BigInteger)
        return partial(out_of_range, 15 if small else 63 if big else 31)
    return None


def _too_long(length: int, value: Any) -> str | None:
    if isinstance(value, str) and len(value) > length:
        return marked(f"has {len(value)} characters, and the column holds {length}")
    return None


def out_of_range(bits: int, value: Any) -> str | None:
    """A Misfit, without the number of bits beside the sign."""
    if isinstance(value, int) and not -(1 << bits) <= value < 1 << bits:
        return marked(f"is out of the column's range of {bits + 1} bits")
    return None
