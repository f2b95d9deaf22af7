"""What the database itself holds unique, reflected when it is needed: no model knows all of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from hexhub_backup.registry import held_postgresql, held_sqlite
from hexhub_backup.registry.mapping import MappedKind
from hexhub_backup.registry.queries import quoted

#: A default that is the same for each row; others are not asked, as asking may change them.
_LITERAL = re.compile(
    r"\(?('(?:[^']|'')*'|[-+]?\d+(?:\.\d+)?|true|false|null)\)?(?:::[\w\s\".()\[\]]+)?", re.I
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|(\w+)')


@dataclass(frozen=True, eq=False)
class HeldColumn:
    """A column as the database knows it. `sql` is its name behind its table's, `type` and
    `collation` are PostgreSQL's names, `default` is the SQL of a literal, `filled` says that there
    is another one, and `generated` is the SQL over other columns that it always holds."""

    name: str
    sql: str
    type: str | None = None
    collation: str | None = None
    default: str | None = None
    filled: bool = False
    generated: str | None = None


@dataclass(frozen=True, eq=False)
class Held:
    """A unique index: `parts` and `condition` are SQL over the columns of the table alone.

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


@dataclass(frozen=True, eq=False)
class HeldTable:
    """The columns of a table by name, and what is unique in it, in a fixed order."""

    columns: Mapping[str, HeldColumn] = field(default_factory=dict)
    uniques: tuple[Held, ...] = ()


def reflected(connection: sa.Connection, mapped: MappedKind) -> HeldTable:
    """What the database says of the table of a kind, just now; the key's columns count as unique
    in any case, since records are told apart by them."""
    of_dialect: Any = held_sqlite if connection.dialect.name == "sqlite" else held_postgresql
    columns = {
        name: _column(name, quoted(mapped.table.schema, mapped.table.name, name), **more)
        for name, more in of_dialect.columns(connection, mapped.table)
    }
    uniques = [
        _held(columns, **each) for each in of_dialect.unique_indexes(connection, mapped.table)
    ]
    identity = {column.name for column in mapped.identity}
    if not any(each.is_plain and each.plain == identity for each in uniques):
        parts = [(quoted(name), None, name) for name in sorted(identity)]
        uniques.append(_held(columns, name=None, parts=parts, condition=None))
    uniques.sort(key=lambda each: (sorted(each.columns), each.condition or "", each.name or ""))
    return HeldTable(columns, tuple(uniques))


def _column(name: str, sql: str, *, default: str | None, **more: Any) -> HeldColumn:
    literal = default is not None and _LITERAL.fullmatch(default.strip())
    return HeldColumn(
        name,
        sql,
        default=default if literal else None,
        filled=default is not None and not literal,
        **more,
    )


def _held(
    columns: Mapping[str, HeldColumn],
    *,
    name: str | None,
    parts: Iterable[tuple[str, str | None, str | None]],
    condition: str | None,
    nulls_distinct: bool = True,
) -> Held:
    """`parts` are SQL, its collation, and the column's name where it is nothing else."""
    parts = list(parts)
    of_parts = [
        [column] if column is not None else _columns_in(text, columns) for text, _, column in parts
    ]
    named = tuple(dict.fromkeys(each for found in of_parts for each in found))
    needed = {*named, *_columns_in(condition or "", columns)}
    for each in list(needed):
        generated = columns[each].generated if each in columns else None
        needed |= {*_columns_in(generated or "", columns)}
    in_sql = {*_columns_in(condition or "", columns)}
    for found, (_, _, column) in zip(of_parts, parts, strict=True):
        in_sql |= set() if column is not None else {*found}
    return Held(
        name=name,
        parts=tuple(
            text if collation is None else f"({text}) COLLATE {collation}"
            for text, collation, _ in parts
        ),
        condition=condition,
        columns=named,
        needed=frozenset(needed),
        plain=frozenset(named) - in_sql,
        nulls_distinct=nulls_distinct,
    )


def _columns_in(sql: str, columns: Mapping[str, HeldColumn]) -> list[str]:
    """The names of columns in SQL. One too many, such as a word in a text, does no harm."""
    folded = {name.lower(): name for name in columns}
    words = ("".join(groups).replace('""', '"') for groups in _NAME.findall(sql))
    return [folded[each.lower()] for each in words if each.lower() in folded]
