"""MariaDB, by PyMySQL or mysqlclient; MySQL is spoken to in the same way.

Keys are equal by the database's own rule, its collations: with the usual ones `JSONStream` and
`jsonstream` are one key. DDL commits, but for temporary tables that are created and dropped with
their indexes; no constraint waits for the commit.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from hexhub_backup.databases import base, sentences
from hexhub_backup.databases import mariadb_schema as schema
from hexhub_backup.databases.base import (
    Failure,
    Misfit,
    Mode,
    ReflectedColumn,
    ReflectedIndex,
    Steps,
    is_raised_by,
    strict_misfit,
)
from hexhub_backup.errors import DatabaseError, MappingError
from hexhub_backup.marking import marked

#: Begins a transaction. Ours see what is committed by now, but a snapshot, and a decision, whose
#: locks have to hold the gaps between rows too.
_BEGIN: Mapping[Mode, tuple[str, str]] = {
    "any": ("READ COMMITTED", "START TRANSACTION"),
    "writing": ("READ COMMITTED", "START TRANSACTION"),
    "snapshot": ("REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
    "decision": ("REPEATABLE READ", "START TRANSACTION"),
}
#: Modes that change what SQL means stay as the host has them: SQLAlchemy goes by them.
_MODES_OF_THE_HOST = {
    "ANSI_QUOTES",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT",
    "TIME_ROUND_FRACTIONAL",
}
#: With ours nothing is cut off or replaced in silence, and an id that is 0 stays so.
_MODES = {"STRICT_ALL_TABLES", "NO_ENGINE_SUBSTITUTION", "NO_AUTO_VALUE_ON_ZERO"}
_YEAR = 31_536_000
#: Variables of our sessions, beside the timeouts of locks; in seconds where they are timeouts.
_OURS: Mapping[str, Any] = {
    "wait_timeout": _YEAR,
    "interactive_timeout": _YEAR,
    "net_write_timeout": 3600,
    "net_read_timeout": 3600,
    # So many bytes of a key are sorted by.
    "max_sort_length": 8192,
}
_OURS_ON_MARIADB: Mapping[str, Any] = {
    "max_statement_time": 0,
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}
_OURS_ON_MYSQL: Mapping[str, Any] = {"max_execution_time": 0}
#: A lock has the server's name space, so that its name, of 64 characters at most, tells the
#: database too.
_TAKE_LOCK = sa.text(
    "SELECT GET_LOCK(CONCAT('hexhub_backup.', SHA1(CONCAT(DATABASE(), '.', :name))), :seconds)"
)
_RELEASE_LOCK = sa.text(
    "SELECT RELEASE_LOCK(CONCAT('hexhub_backup.', SHA1(CONCAT(DATABASE(), '.', :name))))"
)
_TABLES = "tables"


class MariaDB:
    """See `base.Database`."""

    name = "MariaDB"
    has_lock = True
    coordinates = False
    checks_each_row = True

    def refuse_unusable(self, engine: sa.Engine, tables: Collection[sa.Table]) -> bool:
        try:
            with engine.connect() as connection:
                # Not left in the pool: a server may fork its workers after this.
                connection.detach()
                _refuse_old(connection)
                _refuse_charset(connection)
                schema.refuse_engines(connection, tables)
        except SQLAlchemyError:
            return False
        return True

    # --- connections and transactions

    def take(self, connection: sa.Connection) -> Steps:
        """Make nothing be cut off in silence, and nothing end the session between two
        transactions; our transactions are begun by SQL, whatever the driver's mode is."""
        connection.begin()
        more = _OURS_ON_MARIADB if schema.is_mariadb(connection) else _OURS_ON_MYSQL
        seconds = -(-base.LOCK_TIMEOUT // 1000)
        ours = {**_OURS, **more, "lock_wait_timeout": seconds, "innodb_lock_wait_timeout": seconds}
        names = [*ours, "sql_mode"]
        shown = ", ".join(f"@@SESSION.{name}" for name in names)
        before = connection.exec_driver_sql(f"SELECT {shown}").one()
        host = dict(zip(names, before, strict=True))
        modes = set(str(host["sql_mode"]).split(","))
        ours["sql_mode"] = ",".join(sorted(modes & _MODES_OF_THE_HOST | _MODES))
        _set(connection, ours)
        driver: Any = connection.connection.driver_connection
        encoders = driver.encoders
        driver.encoders = _Encoders(encoders)
        # What the driver began by itself.
        connection.exec_driver_sql("ROLLBACK")
        return [
            partial(connection.exec_driver_sql, "ROLLBACK"),
            partial(connection.execute, _RELEASE_LOCK, {"name": _TABLES}),
            partial(_set, connection, host),
            partial(setattr, driver, "encoders", encoders),
            connection.rollback,
        ]

    def begin(
        self, connection: sa.Connection, mode: Mode
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        level, start = _BEGIN[mode]
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        connection.exec_driver_sql(start)
        say = connection.exec_driver_sql
        return partial(say, "COMMIT"), partial(say, "ROLLBACK")

    def durable(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Only the whole server can say so, by innodb_flush_log_at_trx_commit."""
        return nullcontext()

    def keep_writers_out(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
        """Share a lock on each row and each gap of the tables themselves, not of an index, in which
        others could have begun to write: what only looks at a foreign key goes on. LOCK TABLES
        would keep readers out, and has to name each table that is used, with each alias."""
        for table in tables:
            rows = sa.select(sa.func.count()).select_from(table)
            connection.execute(
                rows.with_hint(table, "USE INDEX ()").with_for_update(read=True)
            ).all()

    def check_constraints(self, connection: sa.Connection) -> None:
        """None waits for the commit."""

    def take_lock(self, connection: sa.Connection, table: sa.Table) -> bool:
        """A session's lock, so that a proxy must not share its connections."""
        of = {"name": table.name, "seconds": 0}
        return bool(connection.execute(_TAKE_LOCK, of).scalar_one())

    def lock_schema(self, connection: sa.Connection) -> None:
        seconds = base.LOCK_TIMEOUT / 1000
        if connection.execute(_TAKE_LOCK, {"name": _TABLES, "seconds": seconds}).scalar_one() != 1:
            raise DatabaseError(
                "Something else has kept the tables of the backups locked for "
                f"{seconds:g} seconds: end it, and start again."
            )

    def now(self, connection: sa.Connection) -> datetime:
        naive: datetime = connection.exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one()
        return naive.replace(tzinfo=timezone.utc)

    # --- temporary tables

    def create_temporary(
        self,
        connection: sa.Connection,
        table: sa.Table,
        like: Mapping[str, sa.Column[Any]],
        indexes: Sequence[sa.Index],
    ) -> None:
        """With the types of the host's own columns, by which they compare, and with its indexes: to
        add one to a table commits."""
        connection.exec_driver_sql(schema.create_temporary(connection, table, like, indexes))

    def index_temporary(
        self, connection: sa.Connection, table: sa.Table, indexes: Sequence[sa.Index]
    ) -> None:
        """ANALYZE commits what was filled in, which nobody else sees."""
        connection.exec_driver_sql(f"ANALYZE TABLE {table.name}")

    def drop_temporary(self, connection: sa.Connection, table: sa.Table) -> None:
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE {table.name}")

    # --- SQL and values

    def quote(self, *names: str | None) -> str:
        return schema.quote(*names)

    def in_byte_order(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        text = sa.cast(column, mysql.CHAR(charset="utf8mb4"))
        return sa.cast(text, sa.LargeBinary())

    def keeps_json_text(self, dialect: sa.Dialect) -> bool:
        return False

    def misfit(self, type_: TypeEngine[Any]) -> Misfit | None:
        return strict_misfit(type_)

    # --- what the schema says

    def columns(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedColumn]:
        return schema.columns(connection, table)

    def unique_indexes(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedIndex]:
        return schema.unique_indexes(connection, table)

    def schemas_that_refer(
        self, connection: sa.Connection, tables: Collection[sa.Table]
    ) -> list[str | None]:
        default = str(sa.inspect(connection).default_schema_name)
        return [None, *schema.referring(connection, default, tables)]

    def move_sequences(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, ColumnElement[Any]],
        written: ColumnElement[bool],
    ) -> None:
        """AUTO_INCREMENT sees to it by itself, and SETVAL never goes backward."""
        for column, sequence in schema.sequences(connection, table, values).items():
            furthest = sa.select(sa.func.max(values[column])).where(written)
            highest = connection.execute(furthest).scalar_one()
            if highest is not None:
                connection.exec_driver_sql(f"SELECT SETVAL({sequence}, {int(highest)})")

    # --- errors

    def constraints(self, connection: sa.Connection) -> frozenset[str]:
        return schema.constraints(connection)

    def failure(self, orig: BaseException) -> Failure | None:
        code = orig.args[0] if is_raised_by(orig, *_DRIVERS) and orig.args else None
        if not isinstance(code, int):
            return None
        known = (cause for cause, codes in _FAILURES.items() if code in codes)
        cause: base.Cause = next(known, "record")
        what, then = _FAILURES[cause].get(code, sentences.REFUSED)
        seconds = f"{base.LOCK_TIMEOUT / 1000:g}"
        claims = _claims(orig) if cause == "record" else ()
        return Failure(cause, what.format(seconds=seconds), then, str(code), claims=claims)


class _Encoders(dict[type, Any]):
    """A driver's, but for objects that it does not know: both would write what `str` gives."""

    def __init__(self, encoders: Mapping[type, Any]) -> None:
        # PyMySQL looks there for an object of any other type, and not for a text.
        super().__init__({**encoders, uuid.UUID: _quoted_uuid, str: _refuse_object})

    def __missing__(self, type_: type) -> Any:
        return _refuse_object


def _quoted_uuid(value: uuid.UUID, _encoders: object) -> str:
    return f"'{value}'"


def _refuse_object(value: object, _encoders: object) -> str:
    raise TypeError(f"a {type(value).__name__} is no value of a column")


def _set(connection: sa.Connection, variables: Mapping[str, Any]) -> None:
    """Set variables of the session."""
    assigned = ", ".join(f"SESSION {name} = :{name}" for name in variables)
    connection.execute(sa.text(f"SET {assigned}"), dict(variables))


# --- what can't work ---------------------------------------------------------------------

_OLDEST = {True: (10, 6), False: (8, 0)}


def _refuse_old(connection: sa.Connection) -> None:
    is_mariadb = schema.is_mariadb(connection)
    oldest, name = _OLDEST[is_mariadb], "MariaDB" if is_mariadb else "MySQL"
    version = tuple(connection.dialect.server_version_info or oldest)[:2]
    if version < oldest:
        shown, needed = (".".join(map(str, each)) for each in (version, oldest))
        raise MappingError(
            f"The registry's database is {name} {shown}, which is too old: use {needed} or newer"
        )


def _refuse_charset(connection: sa.Connection) -> None:
    charset = connection.exec_driver_sql("SELECT @@character_set_client").scalar_one()
    if charset != "utf8mb4":
        raise MappingError(
            f"The connections to the registry's database speak {charset}, in which not every text "
            "can be written: add charset=utf8mb4 to the options of its URL"
        )


# --- what its errors say -----------------------------------------------------------------

_DRIVERS = ("pymysql", "MySQLdb")
#: A name in a message: of a key that is there twice, or in backticks. What a trigger says, or a
#: value that is quoted in it, may look the same.
_CLAIM = re.compile(r"for key '(?:\w+\.)?(\w+)'$|CONSTRAINT `(\w+)`")


def _claims(orig: BaseException) -> tuple[str, ...]:
    message = str(orig.args[1]) if len(orig.args) > 1 else ""
    return tuple(filter(None, (name for found in _CLAIM.findall(message) for name in found)))


_LOCKED = (
    marked("something else has kept the tables locked for {seconds} seconds"),
    marked("End it (SHOW PROCESSLIST lists it) and start again."),
)
_TOO_LARGE = (
    marked("a row is larger than the server takes in one piece"),
    marked("Let its max_allowed_packet allow more, and start again."),
)
#: By the number of an error; after a deadlock (1213) there is no savepoint any more (1305).
_OF_THE_SERVER: Mapping[int, tuple[str, str]] = {
    1153: _TOO_LARGE,
    **dict.fromkeys((2002, 2003, 2005), sentences.NO_CONNECTION),
    **dict.fromkeys((1045, 1698), sentences.SHUT_OUT),
    **dict.fromkeys((1040, 1203), sentences.CROWDED),
    **dict.fromkeys((1021, 1114), sentences.FULL),
    **dict.fromkeys((1020, 1305), sentences.CHANGED),
    **dict.fromkeys((1317, 1969, 3024), sentences.CANCELLED),
    **dict.fromkeys((1290, 1792, 1836), sentences.READ_ONLY),
    1049: sentences.NO_DATABASE,
    1213: sentences.DEADLOCK,
}
_OF_THE_STATEMENT: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys((1044, 1142, 1143, 1227), sentences.NO_RIGHT),
    **dict.fromkeys((1064, 1137, 1267), sentences.REFUSED),
    1054: sentences.NO_COLUMN,
    1146: sentences.NO_TABLE,
}
_OF_A_RECORD: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys((1265, 1292, 1366, 1367, 1411), sentences.NO_VALUE),
    **dict.fromkeys((1264, 1690), sentences.OUT_OF_RANGE),
    **dict.fromkeys((1048, 1263, 1364), sentences.NULL),
    **dict.fromkeys((1062, 1586), sentences.NOT_UNIQUE),
    **dict.fromkeys((1216, 1452), sentences.NO_PARENT),
    **dict.fromkeys((1217, 1451), sentences.REFERRED),
    **dict.fromkeys((3819, 4025), sentences.CHECK),
    1406: sentences.TOO_LONG,
    1644: sentences.TRIGGER,
}
#: 0 is PyMySQL's, of a connection that it has closed.
_LOST = (0, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 4031)
_FAILURES: Mapping[base.Cause, Mapping[int, tuple[str, str]]] = {
    "lost": dict.fromkeys(_LOST, sentences.LOST),
    "locked": dict.fromkeys((1205, 3572), _LOCKED),
    "server": _OF_THE_SERVER,
    "statement": _OF_THE_STATEMENT,
    "record": _OF_A_RECORD,
}
