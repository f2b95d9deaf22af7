"""The parts of queries that reading and restoring share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause, TableClause

from hexhub_backup.registry.mapping.mapped_kinds import MappedKind, MappedKinds, Reference

Expression = ColumnElement[Any]


def visible(mapped: MappedKind, kinds: MappedKinds) -> ColumnElement[bool]:
    """Whether a row counts: its own `where`, and that of the rows that it exists by.

    Needs the tables of `parents_of` in the FROM, outer joined.
    """
    parts: list[ColumnElement[bool]] = [] if mapped.where is None else [mapped.where]
    for reference in parents_of(mapped):
        assert reference.kind is not None  # noqa: S101 (a parent has a kind)
        where = kinds[reference.kind.name].where
        if reference.foreign:
            parts += [reference.value.is_not(None)] + ([] if where is None else [where])
        elif where is not None:
            parts.append(sa.or_(reference.value.is_(None), where))
    return sa.and_(sa.true(), *parts)


def parents_of(mapped: MappedKind) -> list[Reference]:
    return [reference for reference in mapped.references if reference.parent]


def rows_of(mapped: MappedKind) -> tuple[FromClause, list[Expression]]:
    """The table joined to what its fields reach, and the value of each field there.

    Parents keep their own names, for the host's `where` names their columns.
    """
    source: FromClause = mapped.table
    values: list[Expression] = []
    for field in mapped.fields:
        reference = field.reference
        value: Expression = field.column
        if reference is not None and reference.parent:
            source = source.outerjoin(reference.remote.table, reference.remote == reference.local)
        elif reference is not None and field.looked_up:
            other = reference.remote.table.alias()
            source = source.outerjoin(other, same(other, reference.remote) == reference.local)
            value = same(other, reference.value)
        values.append(value)
    return source, values


def same(other: FromClause, column: sa.Column[Any]) -> Expression:
    """`column` in `other`, an alias of its table."""
    return other.c[column.key]


def plain(mapped: MappedKind) -> TableClause:
    """The table without what SQLAlchemy would add by itself: `onupdate=`, defaults."""
    table = mapped.table
    columns: list[Any] = [sa.column(each.name, each.type) for each in table.columns]
    return sa.table(table.name, *columns, schema=table.schema)


def has_secret(column: sa.ColumnClause[Any]) -> sa.ColumnElement[bool]:
    """Whether the row has a second factor: neither null nor an empty text."""
    if isinstance(column.type, sa.String):
        return sa.and_(column.is_not(None), column != "")
    return column.is_not(None)


def label_of(columns: Sequence[Expression]) -> Expression:
    """The texts of a key, with spaces between them, for a message."""
    text: Expression = sa.cast(columns[0], sa.Text())
    for column in columns[1:]:
        text = text + sa.literal(" ") + sa.cast(column, sa.Text())
    return text
