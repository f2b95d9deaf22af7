"""What the database itself holds unique, reflected when it is needed: no model knows all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from hexhub_backup.databases.base import IndexPart, ReflectedColumn, ReflectedIndex
from hexhub_backup.databases.known import database_of
from hexhub_backup.registry.mapping.mapped_kinds import MappedKind

#: A default that is the same for each row; others are not asked, as asking may change them.
_LITERAL = re.compile(
    r"\(?('(?:[^']|'')*'|[-+]?\d+(?:\.\d+)?|true|false|null)\)?(?:::[\w\s\".()\[\]]+)?", re.I
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|(\w+)')


@dataclass(frozen=True)
class Column:
    """A column as the database has it. `sql` is its name behind its table's, `type` and
    `collation` are SQL where values have to be cast, `default` is the SQL of a literal, `filled`
    says that there is another one, and `generated` is the SQL over other columns that it always
    holds."""

    name: str
    sql: str
    type: str | None = None
    collation: str | None = None
    default: str | None = None
    filled: bool = False
    generated: str | None = None


@dataclass(frozen=True)
class UniqueIndex:
    """`parts` and `condition` are SQL over the columns of the table alone.

    `columns` are those of its parts, `needed` also those of its condition and of what they are
    generated from; `plain` says that each part is a column, and that there is no condition.
    """

    name: str | None
    parts: tuple[str, ...]
    condition: str | None
    columns: tuple[str, ...]
    needed: frozenset[str]
    plain: frozenset[str]
    nulls_distinct: bool = True

    @property
    def is_plain(self) -> bool:
        return self.condition is None and self.plain == set(self.columns)


@dataclass(frozen=True)
class ReflectedTable:
    """The columns of a table by name, and its unique indexes in a fixed order."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    uniques: tuple[UniqueIndex, ...] = ()


def reflected(connection: sa.Connection, mapped: MappedKind) -> ReflectedTable:
    """What the database says of the table of a kind, just now; the key's columns count as unique
    in any case, since records are told apart by them."""
    database, table = database_of(connection), mapped.table
    columns = {
        each.name: _column(each, database.quote(table.schema, table.name, each.name))
        for each in database.columns(connection, table)
    }
    uniques = [_unique(columns, each) for each in database.unique_indexes(connection, table)]
    identity = {column.name for column in mapped.identity}
    if not any(each.is_plain and each.plain == identity for each in uniques):
        parts = [IndexPart(database.quote(name), column=name) for name in sorted(identity)]
        uniques.append(_unique(columns, ReflectedIndex(None, tuple(parts))))
    uniques.sort(key=lambda each: (sorted(each.columns), each.condition or "", each.name or ""))
    return ReflectedTable(columns, tuple(uniques))


def _column(column: ReflectedColumn, sql: str) -> Column:
    default = column.default
    literal = default is not None and _LITERAL.fullmatch(default.strip())
    return Column(
        column.name,
        sql,
        type=column.type,
        collation=column.collation,
        default=default if literal else None,
        filled=default is not None and not literal,
        generated=column.generated,
    )


def _unique(columns: Mapping[str, Column], index: ReflectedIndex) -> UniqueIndex:
    condition = _columns_in(index.condition or "", columns)
    named: dict[str, None] = {}
    in_sql = {*condition}
    for part in index.parts:
        if part.column is not None:
            named[part.column] = None
        else:
            named.update(dict.fromkeys(_columns_in(part.sql, columns)))
            in_sql.update(_columns_in(part.sql, columns))
    needed = {*named, *condition}
    for each in list(needed):
        generated = columns[each].generated if each in columns else None
        needed.update(_columns_in(generated or "", columns))
    return UniqueIndex(
        name=index.name,
        parts=tuple(
            part.sql if part.collation is None else f"({part.sql}) COLLATE {part.collation}"
            for part in index.parts
        ),
        condition=index.condition,
        columns=tuple(named),
        needed=frozenset(needed),
        plain=frozenset(named) - in_sql,
        nulls_distinct=index.nulls_distinct,
    )


def _columns_in(sql: str, columns: Mapping[str, Column]) -> list[str]:
    """The names of columns in SQL. One too many, such as a word in a text, does no harm."""
    folded = {name.lower(): name for name in columns}
    words = ("".join(groups).replace('""', '"') for groups in _NAME.findall(sql))
    return [folded[each.lower()] for each in words if each.lower() in folded]
