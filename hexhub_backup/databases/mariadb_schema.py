"""What MariaDB's information_schema says of tables, and temporary tables that are made by it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from hexhub_backup.databases.base import IndexPart, ReflectedColumn, ReflectedIndex
from hexhub_backup.errors import MappingError

_ENGINE = sa.text(
    "SELECT ENGINE FROM information_schema.TABLES "
    "WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table"
)
_COLUMNS = sa.text(
    "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, "
    "CHARACTER_MAXIMUM_LENGTH, COLUMN_DEFAULT, EXTRA, GENERATION_EXPRESSION "
    "FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table"
)
_UNIQUE = sa.text(
    "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS "
    "WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table "
    "AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
)
_REFERRING = sa.text(
    "SELECT DISTINCT CONSTRAINT_SCHEMA FROM information_schema.REFERENTIAL_CONSTRAINTS "
    "WHERE UNIQUE_CONSTRAINT_SCHEMA IN :schemas ORDER BY 1"
).bindparams(sa.bindparam("schemas", expanding=True))
_CONSTRAINTS = sa.text(
    "SELECT CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS "
    "WHERE TABLE_SCHEMA = DATABASE()"
)
# Names are quoted as the session does.
_NEXT_VALUE = re.compile(r'nextval\(((?:`(?:[^`]|``)+`|"(?:[^"]|"")+"|\.)+)\)', re.I)
_QUOTED = re.compile(r'`(?:[^`]|``)+`|"(?:[^"]|"")+"')
#: Types of which an index takes the first so many characters: two are within InnoDB's 3072 bytes.
_PREFIX = 255
_PREFIXED = frozenset(
    f"{size}{kind}" for size in ("", "tiny", "medium", "long") for kind in ("text", "blob")
) | {"char", "varchar", "binary", "varbinary"}


def is_mariadb(connection: sa.Connection) -> bool:
    """Not MySQL."""
    return bool(getattr(connection.dialect, "is_mariadb", True))


def quote(*names: str | None) -> str:
    return ".".join("`" + name.replace("`", "``") + "`" for name in names if name is not None)


def columns(connection: sa.Connection, table: sa.Table) -> list[ReflectedColumn]:
    return [
        ReflectedColumn(
            row.COLUMN_NAME,
            default=_default(row, is_mariadb=is_mariadb(connection)),
            generated=row.GENERATION_EXPRESSION or None,
        )
        for row in _rows(connection, _COLUMNS, table)
    ]


def unique_indexes(connection: sa.Connection, table: sa.Table) -> list[ReflectedIndex]:
    rows = _rows(connection, _UNIQUE, table)
    return [
        ReflectedIndex(name, tuple(_part(row) for row in rows if name == row.INDEX_NAME))
        for name in dict.fromkeys(row.INDEX_NAME for row in rows)
    ]


def constraints(connection: sa.Connection) -> frozenset[str]:
    return frozenset(connection.execute(_CONSTRAINTS).scalars())


def referring(connection: sa.Connection, default: str, tables: Iterable[sa.Table]) -> list[str]:
    """The other databases with foreign keys to the tables."""
    schemas = sorted({table.schema or default for table in tables})
    rows = connection.execute(_REFERRING, {"schemas": schemas}).scalars()
    return [schema for schema in rows if schema != default]


def sequences(connection: sa.Connection, table: sa.Table, names: Collection[str]) -> dict[str, str]:
    """The sequences, as SQL, that give the columns of these names their values."""
    found = {}
    for row in _rows(connection, _COLUMNS, table) if names else ():
        default: Any = table.columns[row.COLUMN_NAME].default if row.COLUMN_NAME in names else None
        by_default = _NEXT_VALUE.fullmatch(row.COLUMN_DEFAULT or "")
        if isinstance(default, sa.Sequence):
            found[row.COLUMN_NAME] = quote(default.schema, default.name)
        elif by_default is not None and row.COLUMN_NAME in names:
            found[row.COLUMN_NAME] = by_default[1]
    return found


def drawn_from(connection: sa.Connection, schema: str | None, table: str) -> list[tuple[str, str]]:
    """The columns whose default is the next value of a sequence, each with that one's name."""
    rows = connection.execute(_COLUMNS, {"schema": schema, "table": table}).all()
    found = ((row.COLUMN_NAME, _NEXT_VALUE.fullmatch(row.COLUMN_DEFAULT or "")) for row in rows)
    return [(column, _unquoted(of[1])) for column, of in found if of is not None]


def _unquoted(sequence: str) -> str:
    """The name of a sequence, without the database that it is in."""
    name = _QUOTED.findall(sequence)[-1]
    return str(name[1:-1].replace(name[0] * 2, name[0]))


def refuse_engines(connection: sa.Connection, tables: Collection[sa.Table]) -> None:
    for table in tables:
        of = {"schema": table.schema, "table": table.name}
        engine = connection.execute(_ENGINE, of).scalar()
        if engine not in (None, "InnoDB"):
            raise MappingError(
                f"Table {table.name} is one of {engine}, which has no transactions, so that a "
                "restore of it could not be all or nothing: ALTER TABLE "
                f"{table.name} ENGINE=InnoDB"
            )


def create_temporary(
    connection: sa.Connection,
    table: sa.Table,
    like: Mapping[str, sa.Column[Any]],
    indexes: Sequence[sa.Index],
) -> str:
    """CREATE TEMPORARY TABLE with the types of the host's columns, and with its indexes."""
    host = {
        (of, row.COLUMN_NAME): row
        for of in {column.table for column in like.values()}
        for row in _rows(connection, _COLUMNS, of)
    }
    lines: list[str] = []
    prefixed: set[str] = set()
    for column in table.columns:
        own = like.get(column.name)
        row = None if own is None else host.get((own.table, own.name))
        if row is None:
            type_ = column.type.compile(dialect=connection.dialect)
            is_text = isinstance(column.type, sa.Text)
        else:
            type_ = row.COLUMN_TYPE
            if row.COLLATION_NAME is not None:
                type_ += f" CHARACTER SET {row.CHARACTER_SET_NAME} COLLATE {row.COLLATION_NAME}"
            is_text = row.DATA_TYPE in _PREFIXED and row.CHARACTER_MAXIMUM_LENGTH > _PREFIX
        if is_text:
            prefixed.add(column.name)
        null = "NULL" if column.nullable else "NOT NULL"
        lines.append(f"{quote(column.name)} {type_} {null}")
    keys = {"PRIMARY KEY": table.primary_key.columns}
    keys |= {f"INDEX {quote(str(index.name))}": index.columns for index in indexes}
    for key, columns in keys.items():
        parts = (
            quote(each.name) + (f"({_PREFIX})" if each.name in prefixed else "") for each in columns
        )
        lines.append(f"{key} ({', '.join(parts)})")
    statement = (
        f"CREATE TEMPORARY TABLE {table.name} ({', '.join(lines)}) "
        "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
    # Both drivers format what they are given.
    return statement.replace("%", "%%")


def _rows(connection: sa.Connection, query: sa.TextClause, table: sa.Table) -> list[Any]:
    of = {"schema": table.schema, "table": table.name}
    return list(connection.execute(query, of).all())


def _default(row: Any, *, is_mariadb: bool) -> str | None:
    """As SQL; of what the server makes by itself something that is no literal."""
    if "auto_increment" in row.EXTRA.lower():
        return "AUTO_INCREMENT"
    default: str | None = row.COLUMN_DEFAULT
    if default is None or is_mariadb or "DEFAULT_GENERATED" in row.EXTRA:
        return default
    # MySQL shows a text without quotes.
    return "'" + default.replace("'", "''") + "'"


def _part(row: Any) -> IndexPart:
    column = quote(row.COLUMN_NAME)
    if row.SUB_PART is None:
        return IndexPart(column, column=row.COLUMN_NAME)
    return IndexPart(f"LEFT({column}, {row.SUB_PART})")
