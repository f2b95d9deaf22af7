"""SQLite: one file, one writer at a time, and a driver that begins transactions on its own."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from hexhub_backup.databases import base, sentences
from hexhub_backup.databases.base import (
    Failure,
    IndexPart,
    Misfit,
    Mode,
    ReflectedColumn,
    ReflectedIndex,
    StandardSQL,
    Steps,
    clean_up,
    out_of_range,
)
from hexhub_backup.errors import DatabaseError, MappingError
from hexhub_backup.marking import marked

_BEGIN = {
    "any": "BEGIN DEFERRED",
    "writing": "BEGIN IMMEDIATE",
    "snapshot": "BEGIN DEFERRED",
    "decision": "BEGIN IMMEDIATE",
}


class SQLite(StandardSQL):
    """See `base.Database`."""

    name = "SQLite"
    has_lock = False
    coordinates = False
    checks_each_row = False

    def refuse_unusable(self, engine: sa.Engine, tables: Collection[sa.Table]) -> bool:
        # 3.33 is the first with UPDATE … FROM.
        version = getattr(engine.dialect.dbapi, "sqlite_version_info", (3, 33))
        if version < (3, 33):
            raise MappingError(
                f"SQLite {'.'.join(map(str, version))} is too old to restore into: use 3.33 or "
                "newer"
            )
        if _is_in_memory(engine):
            raise MappingError(base.SHARED)
        return True

    # --- connections and transactions

    def take(self, connection: sa.Connection) -> Steps:
        """Make the driver leave transactions alone, and wait as long as we do."""
        driver: Any = connection.connection.driver_connection
        # Since Python 3.12 a connection can be in the mode of PEP 249, always in a transaction.
        is_always = getattr(driver, "autocommit", None) is False
        if driver.in_transaction and not (is_always and _is_of_many(connection)):
            raise DatabaseError(
                "The only connection to the database is in the middle of a transaction: commit or "
                "roll back first"
            )
        before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
        driver.execute(f"PRAGMA busy_timeout = {base.LOCK_TIMEOUT:d}")
        name, ours = "isolation_level", None
        if is_always:
            driver.rollback()
            name, ours = "autocommit", True
        host = getattr(driver, name)
        setattr(driver, name, ours)
        # The host's `begin` event fires on the first use: what it began is not ours.
        connection.begin()
        _roll_back(driver)
        return [
            partial(_roll_back, driver),
            connection.rollback,
            partial(setattr, driver, name, host),
            partial(driver.execute, f"PRAGMA busy_timeout = {before:d}"),
        ]

    def begin(
        self, connection: sa.Connection, mode: Mode
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        driver: Any = connection.connection.driver_connection
        connection.exec_driver_sql(_BEGIN[mode])
        if mode == "snapshot":
            # The moment is that of the first read, not that of BEGIN.
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        return partial(connection.exec_driver_sql, "COMMIT"), partial(_roll_back, driver)

    @contextmanager
    def durable(self, connection: sa.Connection) -> Iterator[None]:
        # With WAL and synchronous=NORMAL a power cut takes back the last commits, and the files
        # that were replaced after them would stay.
        before = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        connection.exec_driver_sql(f"PRAGMA synchronous = {max(before, 2)}")
        try:
            yield
        finally:
            back = f"PRAGMA synchronous = {before}"
            clean_up(connection, partial(connection.exec_driver_sql, back))

    def keep_writers_out(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
        """BEGIN IMMEDIATE has."""

    def check_constraints(self, connection: sa.Connection) -> None:
        """There is no statement for that: COMMIT fails, and can be rolled back."""

    def take_lock(self, connection: sa.Connection, table: sa.Table) -> bool:
        raise NotImplementedError

    def lock_schema(self, connection: sa.Connection) -> None:
        """Who has begun to write is alone."""

    def now(self, connection: sa.Connection) -> datetime:
        """That of this machine: the others who share the file run on it."""
        return datetime.now(timezone.utc)

    # --- SQL and values

    def in_byte_order(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.collate("BINARY")

    def keeps_json_text(self, dialect: sa.Dialect) -> bool:
        # Where the host has no deserializer of its own.
        return getattr(dialect, "_json_deserializer", dialect) is None

    def misfit(self, type_: TypeEngine[Any]) -> Misfit | None:
        """It enforces no length, and keeps a number in 64 bits."""
        inner = type_.impl if isinstance(type_, sa.types.TypeDecorator) else type_
        if isinstance(inner, sa.JSON):
            return _rounded
        return partial(out_of_range, 63) if isinstance(inner, sa.Integer) else None

    # --- what the schema says

    def columns(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedColumn]:
        rows = pragma(connection, table.schema, "table_xinfo", table.name)
        generated: dict[str, str] = {}
        if any(row.hidden in _GENERATED for row in rows):
            reflected: Any = sa.inspect(connection).get_columns(table.name, schema=table.schema)
            generated = {
                each["name"]: each["computed"]["sqltext"]
                for each in reflected
                if each.get("computed")
            }
        return [
            ReflectedColumn(
                row.name,
                # A rowid is filled where it is the table's key.
                default="rowid" if row.pk and row.dflt_value is None else row.dflt_value,
                generated=generated.get(row.name),
            )
            for row in rows
        ]

    def unique_indexes(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedIndex]:
        master = sa.table(
            "sqlite_master", *map(sa.column, ("type", "name", "sql")), schema=table.schema
        )
        keyed = False
        indexes = []
        for index in pragma(connection, table.schema, "index_list", table.name):
            keyed = keyed or index.origin == "pk"
            if not index.unique:
                continue
            sql = connection.execute(
                sa.select(master.c.sql).where(master.c.type == "index", master.c.name == index.name)
            ).scalar()
            texts, condition = ([], None) if sql is None else parts_of(sql)
            parts = tuple(
                IndexPart(
                    texts[row.seqno] if row.name is None else _quoted(row.name),
                    _quoted(row.coll),
                    row.name,
                )
                for row in pragma(connection, table.schema, "index_xinfo", index.name)
                if row.key
            )
            indexes.append(ReflectedIndex(index.name, parts, condition))
        columns = pragma(connection, table.schema, "table_xinfo", table.name)
        key = [IndexPart(_quoted(row.name), None, row.name) for row in columns if row.pk]
        if key and not keyed:
            # An INTEGER PRIMARY KEY is the rowid itself, and has no index.
            indexes.append(ReflectedIndex(None, tuple(key)))
        return indexes

    def schemas_that_refer(
        self, connection: sa.Connection, tables: Collection[sa.Table]
    ) -> list[str | None]:
        """A foreign key stays in its file."""
        return [None]

    def move_sequences(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, ColumnElement[Any]],
        written: ColumnElement[bool],
    ) -> None:
        """AUTOINCREMENT sees to it by itself."""

    # --- errors

    def failure(self, orig: BaseException) -> Failure | None:
        if not isinstance(orig, sqlite3.Error):
            return None
        text, code = str(orig), getattr(orig, "sqlite_errorname", None) or type(orig).__name__
        is_of_a_record = not isinstance(orig, sqlite3.OperationalError)
        failure = partial(Failure, "record" if is_of_a_record else "server", code=code)
        if re.match(r"database (\w+ )?is locked", text):
            return Failure(
                "locked",
                marked(
                    f"the database has been kept locked for {base.LOCK_TIMEOUT / 1000:g} seconds "
                    "by something else: another process of the app, a backup tool, or a database "
                    "browser with changes that are not saved"
                ),
                marked("End it and start again."),
                code,
            )
        if code == "SQLITE_CONSTRAINT_TRIGGER":
            return failure(*sentences.TRIGGER)
        if _NAMES_ONLY.fullmatch(text):
            return failure(text, sentences.FIX)
        known = (said for start, said in _FAILURES.items() if text.startswith(start))
        what, then = next(known, sentences.REFUSED)
        return failure(what, then, not_text=text.startswith(_NOT_TEXT))


def _is_in_memory(engine: sa.Engine) -> bool:
    url = str(engine.url)
    if engine.url.database and not (":memory:" in url or "mode=memory" in url):
        return False
    # The host may have given a function that connects, whatever the URL says.
    with engine.connect() as connection:
        files = connection.exec_driver_sql("PRAGMA database_list").all()
    return not any(file for _, name, file in files if name == "main")


def _is_of_many(connection: sa.Connection) -> bool:
    """Whether the pool has more than one connection: nobody else uses what it gave us."""
    return not isinstance(connection.engine.pool, (sa.pool.StaticPool, sa.pool.SingletonThreadPool))


def _roll_back(driver: Any) -> None:
    # Some errors (a full disk) have rolled back already.
    if driver.in_transaction:
        driver.execute("ROLLBACK")


def _rounded(value: Any) -> str | None:
    # Of JSON that is a number and nothing else, SQLite makes a number of its own.
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return marked(
            "is an integer of more than 64 bits, which SQLite rounds unless it is inside another"
        )
    return None


# --- what a schema is made of ------------------------------------------------------------

_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] |
        --[^\n]* | /\*.*?\*/ | \w+ | \s+ | .""",
    re.S | re.X,
)
# What may stand behind the SQL of a part; its collation is known otherwise.
_BEHIND = re.compile(
    r"""(?:\s+COLLATE\s+("[^"]*"|\[[^\]]*\]|\w+))?(?:\s+(?:ASC|DESC))?\s*$""", re.I
)
# Values of `hidden`: generated, virtual and stored.
_GENERATED = (2, 3)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def pragma(connection: sa.Connection, schema: str | None, name: str, of: str) -> list[Any]:
    where = "" if schema is None else f"{_quoted(schema)}."
    return list(connection.exec_driver_sql(f"PRAGMA {where}{name}({_quoted(of)})").all())


def parts_of(sql: str) -> tuple[list[str], str | None]:
    """The SQL of each part of a CREATE INDEX, and of its WHERE."""
    parts: list[str] = []
    text, depth, behind = "", 0, ""
    for piece in _TOKEN.findall(sql):
        if piece.startswith(("--", "/*")):
            text += " "
        elif depth == 0 and parts:
            behind += piece
        elif piece == "(":
            depth += 1
            text = "" if depth == 1 else text + piece
        elif piece in (",", ")") and depth == 1:
            parts.append(_BEHIND.sub("", text).strip())
            text, depth = "", depth - (piece == ")")
        else:
            depth -= piece == ")"
            text += piece
    condition = re.sub(r"^\s*WHERE\b", "", behind, flags=re.I).strip().rstrip(";")
    return parts, condition or None


# --- what its errors say -----------------------------------------------------------------

_NOT_TEXT = "Could not decode to UTF-8"
#: Beginnings of messages: what happened, and what to do.
_FAILURES = {
    "attempt to write a readonly database": sentences.NO_WRITING,
    "database or disk is full": sentences.FULL,
    "disk I/O error": sentences.DISK_FAILED,
    "database disk image is malformed": sentences.DAMAGED,
    "file is not a database": sentences.DAMAGED,
    "unable to open database file": sentences.NO_FILE,
    "FOREIGN KEY constraint failed": sentences.NO_PARENT,
    _NOT_TEXT: sentences.NOT_TEXT,
}
#: Messages that hold nothing but names of the schema.
_NAMES_ONLY = re.compile(
    r"(UNIQUE|NOT NULL) constraint failed: (\w+\.\w+(, \w+\.\w+)*|index '\w+')"
    r"|CHECK constraint failed: \w+|no such (table|column): [\w.]+"
)
