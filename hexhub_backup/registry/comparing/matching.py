"""Staged records joined to the host's rows of the same keys, by the database's own rules."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause

from hexhub_backup.registry.comparing.staging import Staged
from hexhub_backup.registry.mapping.mapped_kinds import MappedField
from hexhub_backup.registry.queries import Expression, same


class Matched:
    """One row for each staged record, with the host's row beside it where there is one.

    The host's columns stand on the left of each comparison: in SQLite the left side's
    collation is what counts, also one that the metadata does not know of.
    """

    def __init__(self, staged: Staged) -> None:
        mapped, table = staged.mapped, staged.mapped.table
        self.staged = staged
        self.source: FromClause = staged.table
        #: The value of each field in the host's row.
        self.current: dict[str, Expression] = {}
        #: What a write sets the own column of each field to.
        self.written: dict[str, Expression] = {}
        #: Whether what a reference names is in the database.
        self.reached: dict[str, ColumnElement[bool]] = {}
        self.found: ColumnElement[bool] = mapped.identity[0].is_not(None)
        for field in mapped.fields:
            self.written[field.name] = value = staged.values[field.name]
            reference = field.reference
            if reference is not None:
                there = reference.value.table
                other = there if reference.parent else there.alias()
                # Parents keep their own names, for the host's `where` names their columns.
                self.source = self.source.outerjoin(other, same(other, reference.value) == value)
                self.reached[field.name] = same(other, reference.value).is_not(None)
                if field.looked_up:
                    self.written[field.name] = same(other, reference.remote)
        on = [field.own == self.written[field.name] for field in mapped.keys]
        self.source = self.source.outerjoin(table, sa.and_(*on))
        for field in mapped.fields:
            self.current[field.name] = self._current(field)

    def _current(self, field: MappedField) -> Expression:
        reference = field.reference
        if reference is None or not field.looked_up or field.key:
            return field.own
        other = reference.remote.table.alias()
        self.source = self.source.outerjoin(other, same(other, reference.remote) == reference.local)
        return same(other, reference.value)

    def select(self, *columns: Any) -> sa.Select[Any]:
        return sa.select(*columns).select_from(self.source)
