"""Who holds a protected right: in the host's rows, in staged records, and after a write.

A right is a value in a `protected=` column of users that is neither null, false, zero nor empty,
and that a new account does not get without a grant (the constant default of its column).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, visitors

from hexhub_backup.archive.records import USERS
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.mapping.mapped_kinds import MappedField, MappedKind, MappedKinds
from hexhub_backup.registry.queries import Expression, rows_of, visible

# The texts that databases make of false, zero and empty values of their types.
_NOTHING = ("", "0", "0.0", "false", "null", '""', "[]", "{}")


class Rights:
    """The rights of staged users beside those of the host's rows. Of other kinds there are none."""

    def __init__(self, matched: Matched, kinds: MappedKinds) -> None:
        mapped = matched.staged.mapped
        self.fields = protected_fields(mapped) if mapped.kind is USERS else ()
        self._matched = matched
        self._staged = matched.staged
        self._mapped = mapped
        self._shown = visible(mapped, kinds)

    @property
    def here(self) -> ColumnElement[bool]:
        """The host's row holds a right, whether it is active or not."""
        current = self._matched.current
        held = (_holds(self._mapped, field, current[field.name]) for field in self.fields)
        return sa.or_(sa.false(), *held)

    @property
    def archived(self) -> list[ColumnElement[bool]]:
        """By field, whether the staged record holds a right, granted or not."""
        values = self._staged.values
        return [_holds(self._mapped, field, values[field.name]) for field in self.fields]

    @property
    def now(self) -> list[Expression]:
        """By field, the text of the right that an active account holds in its row; else null."""
        current = self._matched.current
        active = sa.and_(self._matched.found, self._shown, *_active(self._mapped, current))
        return [self._right(field, current[field.name], active) for field in self.fields]

    @property
    def after(self) -> list[Expression]:
        """The same of the row as it would be after the record was written."""
        values = {field.name: self._after(field) for field in self._mapped.fields}
        active = sa.and_(self._shown_after(values), *_active(self._mapped, values))
        return [self._right(field, values[field.name], active) for field in self.fields]

    def _after(self, field: MappedField) -> Expression:
        current = self._matched.current[field.name]
        if not self._staged.writes(field):
            return current
        archived = (self._staged.has(field), self._staged.values[field.name])
        there = (self._matched.found, current)
        return sa.case(*((there, archived) if field.fixed else (archived, there)))

    def _shown_after(self, values: Mapping[str, Expression]) -> ColumnElement[bool]:
        where = self._mapped.where
        if where is None:
            return sa.true()
        if any(isinstance(each, sa.SelectBase) for each in visitors.iterate(where)):
            # What it asks of other rows can not be told of values that are in none.
            return sa.or_(sa.not_(self._matched.found), self._shown)
        by_column = {
            field.own.name: values[field.name]
            for field in self._mapped.fields
            if not field.looked_up
        }

        def replace(element: Any, **_options: Any) -> Any:
            return by_column.get(element.name) if isinstance(element, sa.Column) else None

        moved = visitors.replacement_traverse(where, {}, replace)
        return sa.or_(sa.not_(self._matched.found), moved)

    def _right(
        self, field: MappedField, value: Expression, active: ColumnElement[bool]
    ) -> Expression:
        held = sa.and_(active, _holds(self._mapped, field, value))
        return sa.case((held, _text(value)), else_=sa.null())


def rights_held(connection: sa.Connection, kinds: MappedKinds) -> dict[tuple[str, str], int]:
    """How many active accounts hold each right of the registry, by field and the value's text."""
    mapped = kinds[USERS.name]
    source, values = rows_of(mapped)
    by_field = {field.name: value for field, value in zip(mapped.fields, values, strict=True)}
    active = sa.and_(visible(mapped, kinds), *_active(mapped, by_field))
    found: dict[tuple[str, str], int] = {}
    for field in protected_fields(mapped):
        value = by_field[field.name]
        right = _text(value).label("held")
        select = sa.select(right, sa.func.count()).select_from(source)
        select = select.where(active, _holds(mapped, field, value)).group_by(right)
        for text, count in connection.execute(select):
            found[field.name, text] = count
    return found


def protected_fields(mapped: MappedKind) -> tuple[MappedField, ...]:
    return tuple(field for field in mapped.fields if field.protected)


def _holds(mapped: MappedKind, field: MappedField, value: Expression) -> ColumnElement[bool]:
    """Whether `value`, of a protected field, is a right: never null."""
    text = sa.func.coalesce(_text(value), "")
    default = _default(mapped, field)
    # Nothing is the default of most.
    usual = "" if default is None else sa.func.coalesce(_text(default), "")
    return sa.and_(text.not_in(_NOTHING), text != usual)


def _default(mapped: MappedKind, field: MappedField) -> Expression | None:
    """What a new account gets in a protected column, where that is the same for each."""
    column = field.own
    filler = mapped.fillers.get(column.name)
    if field.looked_up:
        return None
    if filler is not None:
        constant = filler.constant
        return None if constant is None else sa.literal(constant, column.type)
    default: Any = getattr(column.server_default, "arg", None)
    if isinstance(default, str):
        return sa.literal(default, sa.Text())
    return sa.literal_column(default.text) if isinstance(default, sa.TextClause) else default


def _active(mapped: MappedKind, values: Mapping[str, Expression]) -> list[ColumnElement[bool]]:
    return [
        values[field.name].is_(None)
        for field in mapped.fields
        # Of a column of another type nobody can tell.
        if field.name == "deactivated_at" and isinstance(field.column.type, sa.DateTime | sa.Date)
    ]


def _text(value: Expression) -> Expression:
    # Every type has a text: some, such as PostgreSQL's json, can not be compared themselves.
    return sa.cast(value, sa.Text())
