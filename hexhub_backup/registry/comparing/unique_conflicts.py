"""Which staged records conflict, with another one or a row, over what the database holds unique."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import UserDefinedType

from hexhub_backup.marking import marked
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.unique_indexes import Column, ReflectedTable, UniqueIndex
from hexhub_backup.registry.mapping.mapped_kinds import MappedKind
from hexhub_backup.registry.queries import Expression, label_of, plain, same


@dataclass(frozen=True, eq=False)
class Rule:
    """`select` gives `n` of each record that the rule blocks, and `other`, a text for
    `sentence`."""

    select: sa.Select[Any]
    sentence: Callable[[str], str]


def unique_rules(
    matched: Matched, unique: UniqueIndex, table: ReflectedTable, *, is_empty: bool
) -> Iterator[Rule]:
    """No row may have what the record would, nor may another record; `is_empty` says that there
    is no row."""
    mapped = matched.staged.mapped
    if (
        is_empty
        and unique.is_plain
        and unique.nulls_distinct
        and not _is_given(matched, unique, table)
    ):
        return
    is_key = unique.is_plain and unique.plain <= {column.name for column in mapped.identity}
    has = _same_names(mapped, unique)
    if not (is_key or is_empty):
        yield _taken_by_a_row(matched, unique, table, has)
    would = _would_be(matched, unique, table, for_archive=True)
    parts = [would.c[_part(at)] for at in range(len(unique.parts))]
    conflicts = sa.select(
        would.c[_N],
        sa.func.min(would.c[_N]).over(partition_by=parts).label("first"),
        sa.func.max(would.c[_N]).over(partition_by=parts).label("last"),
    )
    if unique.nulls_distinct:
        conflicts = conflicts.where(*(part.is_not(None) for part in parts))
    found = conflicts.subquery("conflicts")
    other = matched.staged.table.alias("other")
    other_n = sa.case((found.c[_N] == found.c.first, found.c.last), else_=found.c.first)
    label = mapped.kind.label

    def sentence(key: str) -> str:
        other = label(tuple(json.loads(key)))
        if is_key:
            return marked(
                f"to the database it is {other} of the archive, only spelled otherwise: take one "
                "of the two out where the archive was made"
            )
        return marked(
            f"it has {has} as {other} of the archive: take one of the two out where the archive "
            "was made"
        )

    yield Rule(
        sa.select(found.c[_N].label("n"), other.c.key.label("other"))
        .select_from(found.join(other, other.c.n == other_n))
        .where(found.c.first != found.c.last),
        sentence,
    )


def _is_given(matched: Matched, unique: UniqueIndex, table: ReflectedTable) -> bool:
    """Whether a new row may get anything in the index that is known before it is written."""
    staged = matched.staged
    given = {field.own.name for field in staged.mapped.fields if staged.writes(field)}
    given |= staged.made.keys()
    columns = (table.columns[name] for name in unique.needed if name in table.columns)
    return not given.isdisjoint(unique.needed) or any(
        column.default is not None or column.generated is not None for column in columns
    )


def _taken_by_a_row(matched: Matched, unique: UniqueIndex, table: ReflectedTable, has: str) -> Rule:
    """The same values in another row of the registry, whatever becomes of that."""
    mapped = matched.staged.mapped
    would = _would_be(matched, unique, table, for_archive=False)
    rows = plain(mapped)
    row = _where(
        sa.select(
            *(rows.c[column.name].label(_own(at)) for at, column in enumerate(mapped.identity)),
            *_parts(unique),
        ).select_from(rows),
        unique,
    ).subquery("row")
    on: list[ColumnElement[bool]] = []
    for at in range(len(unique.parts)):
        there, here = row.c[_part(at)], would.c[_part(at)]
        on.append(there == here if unique.nulls_distinct else there.is_not_distinct_from(here))
    source = would.join(row, sa.and_(*on))
    keys: list[Expression] = []
    for at, field in enumerate(mapped.keys):
        key: Expression = row.c[_own(at)]
        if field.looked_up and field.reference is not None:
            parent = field.reference.remote.table.alias()
            source = source.outerjoin(parent, same(parent, field.reference.remote) == key)
            key = same(parent, field.reference.value)
        keys.append(key)
    own = [(row.c[_own(at)], would.c[_own(at)]) for at in range(len(mapped.identity))]
    itself = sa.and_(*(one == other for one, other in own))
    one = mapped.kind.one
    return Rule(
        sa.select(would.c[_N].label("n"), label_of(keys).label("other"))
        .select_from(source)
        # Of a new record there is no row.
        .where(sa.or_(own[0][1].is_(None), sa.not_(itself))),
        lambda other: marked(
            f"{one} {other} of the registry has {has}: change one of the two, then inspect the "
            "archive again"
        ),
    )


def _same_names(mapped: MappedKind, unique: UniqueIndex) -> str:
    """What is unique, in the names of the fields; the index where it is more than columns."""
    named = {field.own.name: field.name for field in mapped.fields}
    *others, last = sorted(named.get(column, column) for column in unique.columns) or [""]
    same = marked(f"the same {' and '.join(others)} and {last}" if others else f"the same {last}")
    return same if unique.is_plain else marked(f"{same} (by the unique index {unique.name})")


# --- what the columns would hold ---------------------------------------------------------

# Labels, which a host's column will not have.
_N = "hexhub_n"


def _part(at: int) -> str:
    return f"hexhub_part_{at}"


def _own(at: int) -> str:
    return f"hexhub_own_{at}"


def _parts(unique: UniqueIndex) -> list[Any]:
    return [sa.literal_column(text).label(_part(at)) for at, text in enumerate(unique.parts)]


def _where(select: sa.Select[Any], unique: UniqueIndex) -> sa.Select[Any]:
    if unique.condition is None:
        return select
    return select.where(sa.literal_column(f"({unique.condition})", sa.Boolean()))


def _would_be(
    matched: Matched, unique: UniqueIndex, table: ReflectedTable, *, for_archive: bool
) -> sa.Subquery:
    """Of each record that the index counts, what its row would have in it after a write.

    The index's own SQL is said over a subquery that has the table's name and its columns, so that
    the database works it out as it does for a row.
    """
    mapped = matched.staged.mapped
    values = _effective(matched, unique, table, for_archive=for_archive)
    own = [column.label(_own(at)) for at, column in enumerate(mapped.identity)]
    labels = [_own(at) for at in range(len(own))]
    inner = matched.select(matched.staged.table.c.n.label(_N), *own)
    inner = inner.add_columns(*(value.label(name) for name, value in values.items()))
    if not unique.nulls_distinct:
        # What only the database knows is not null.
        inner = inner.where(*_known(matched, unique, table))
    rows = inner.subquery(mapped.table.name)
    generated = {
        name: table.columns[name].generated
        for name in unique.needed
        if name in table.columns and table.columns[name].generated is not None
    }
    if generated:
        rows = sa.select(
            *(each for each in rows.c if each.key not in generated),
            *(
                _typed(sa.literal_column(f"({sql})"), table.columns[name]).label(name)
                for name, sql in generated.items()
            ),
        ).subquery(mapped.table.name)
    select = sa.select(rows.c[_N], *(rows.c[label] for label in labels), *_parts(unique))
    return _where(select, unique).subquery("would")


def _effective(
    matched: Matched, unique: UniqueIndex, table: ReflectedTable, *, for_archive: bool
) -> dict[str, Expression]:
    """What each column would hold after the record was written; null where only the database
    knows. `for_archive`: a parent is told by its key, as it may be new itself."""
    staged, mapped = matched.staged, matched.staged.mapped
    values: dict[str, Expression] = {}
    by_column = {field.own.name: field for field in mapped.fields if staged.writes(field)}
    own = {column.name: column for column in mapped.table.columns}
    for name in sorted(unique.needed):
        reflected = table.columns[name]
        field = by_column.get(name)
        if field is not None and field.key:
            by_key = for_archive and field.looked_up and name in unique.plain
            value = staged.values[field.name] if by_key else matched.written[field.name]
            values[name] = value if by_key else _typed(value, reflected)
            continue
        made: Expression = staged.made.get(name, sa.null())
        if name not in staged.made and reflected.default is not None:
            made = sa.literal_column(reflected.default)
        column: Expression = own[name] if name in own else sa.literal_column(reflected.sql)
        whens: list[tuple[ColumnElement[bool], Expression]] = [
            (matched.found, _typed(column, reflected))
        ]
        if field is not None:
            written = (staged.has(field), _typed(matched.written[field.name], reflected))
            whens.insert(int(field.fixed), written)
        values[name] = _typed(sa.case(*whens, else_=_typed(made, reflected)), reflected)
    return values


def _known(
    matched: Matched, unique: UniqueIndex, table: ReflectedTable
) -> Iterator[ColumnElement[bool]]:
    """That the record's row would hold nothing which the database makes up by itself."""
    staged = matched.staged
    by_column = {field.own.name: field for field in staged.mapped.fields if staged.writes(field)}
    for name in sorted(unique.needed):
        field = by_column.get(name)
        if name not in staged.made and table.columns[name].filled:
            has = sa.false() if field is None else staged.has(field)
            yield sa.or_(matched.found, has)


class _Raw(UserDefinedType[Any]):
    """A type by the name that the database gives it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_options: Any) -> str:
        return self.name


def _typed(value: Any, column: Column) -> Expression:
    """As the database holds it, which may compare otherwise than the model's type."""
    found: Expression = value if column.type is None else sa.cast(value, _Raw(column.type))
    if column.collation is not None:
        collation: Expression = sa.literal_column(column.collation)
        found = sa.type_coerce(found, sa.Text()).op("COLLATE")(collation)
    return found
