"""A host's resolved maps on other tables: copies of its own, in another schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from hexhub_backup.registry.mapping.mapped_kinds import (
    Filler,
    MappedField,
    MappedKind,
    MappedKinds,
)


def tables_read(kinds: MappedKinds) -> list[sa.Table]:
    """The tables that the maps name, those of the four kinds first: what they refer to, and what
    their expressions read."""
    found = {mapped.table: None for mapped in kinds.values()}
    for mapped in kinds.values():
        found |= {reference.remote.table: None for reference in mapped.references}
        for expression in _expressions(mapped):
            for each in visitors.iterate(expression):
                table = each.table if isinstance(each, sa.Column) else each
                if isinstance(table, sa.Table):
                    # What the ORM has annotated is the same table.
                    found[table.metadata.tables.get(table.key, table)] = None
    return list(found)


def written(mapped: MappedKind) -> frozenset[str]:
    """The names of the columns that a restore writes in a new row."""
    return frozenset({field.own.name for field in mapped.fields} | set(mapped.fillers))


def moved(kinds: MappedKinds, schema: str) -> MappedKinds:
    """The maps, on tables of the same names in `schema`."""
    metadata, copies = sa.MetaData(), dict[sa.Table, sa.Table]()
    for table in tables_read(kinds):
        copies[table] = table.to_metadata(
            metadata, schema=schema, referred_schema_fn=lambda *_: schema
        )
        for column in copies[table].columns:
            # A native enum stays where it is.
            column.type = table.c[column.key].type
            if isinstance(default := column.default, sa.Sequence):
                # That of the host would move on.
                column.default = sa.Sequence(default.name, schema=schema)
    mover = _Moved(copies)
    return {name: mover.kind(mapped) for name, mapped in kinds.items()}


def _expressions(mapped: MappedKind) -> Iterator[Any]:
    if mapped.where is not None:
        yield mapped.where
    for filler in mapped.fillers.values():
        if filler.expression is not None and not filler.sequence:
            yield filler.expression


class _Moved:
    def __init__(self, copies: dict[sa.Table, sa.Table]) -> None:
        self._copies = copies

    def kind(self, mapped: MappedKind) -> MappedKind:
        return replace(
            mapped,
            table=self._copies[mapped.table],
            fields=tuple(map(self._field, mapped.fields)),
            where=self._expression(mapped.where),
            fillers={name: self._filler(each) for name, each in mapped.fillers.items()},
            totp_secret=self._column(mapped.totp_secret),
            version=self._column(mapped.version),
        )

    def _field(self, field: MappedField) -> MappedField:
        reference = None
        if field.reference is not None:
            reference = replace(
                field.reference,
                local=self._column(field.reference.local),
                remote=self._column(field.reference.remote),
                value=self._column(field.reference.value),
            )
        return replace(field, column=self._column(field.column), reference=reference)

    def _filler(self, filler: Filler) -> Filler:
        column: sa.Column[Any] = self._column(filler.column)
        if filler.sequence:
            default: Any = column.default
            return replace(filler, column=column, expression=default.next_value())
        return replace(filler, column=column, expression=self._expression(filler.expression))

    def _column(self, column: Any) -> Any:
        return None if column is None else self._copies[column.table].c[column.key]

    def _expression(self, expression: Any) -> Any:
        def other(element: Any, **_: Any) -> Any:
            if isinstance(element, sa.Column) and element.table in self._copies:
                return self._copies[element.table].c[element.key]
            return self._copies.get(element) if isinstance(element, sa.Table) else None

        if expression is None:
            return expression
        return visitors.replacement_traverse(expression, {}, other)
