"""What of a host's models can not work, each with its fix."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from hexhub_backup.archive.records import Kind
from hexhub_backup.registry.mapping.host_models import Model, Refusal
from hexhub_backup.registry.mapping.mapped_kinds import (
    Filler,
    MappedField,
    MappedKind,
    columns_in,
    is_unique,
)
from hexhub_backup.registry.mapping.model_map import ModelMap


def refuse_other(kind: Kind, mapped: Any) -> None:
    if not isinstance(mapped, ModelMap):
        raise Refusal(
            f"is {_called(mapped)}, not a ModelMap: write {kind.name}=ModelMap(your model)"
        )


def refuse_mistyped(option: str, value: Any) -> None:
    """Refuse a value of an option of ModelMap that is of another type than it says there."""
    if option == "timezone" and not isinstance(value, dt.tzinfo):
        raise Refusal(
            f'is {_called(value)}, not a tzinfo: write timezone=ZoneInfo("Europe/Berlin"), say'
        )
    if option in ("extra", "protected", "volatile") and not (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(name, str) for name in value)
    ):
        raise Refusal(
            f"is {_called(value)}, not a list of the names of columns: write "
            f'{option}=["one", "two"]'
        )
    if option in ("fields", "on_create") and not (
        value is None
        or (isinstance(value, Mapping) and all(isinstance(name, str) for name in value))
    ):
        # Without its values, which may be secrets.
        raise Refusal(
            f"is of type {type(value).__name__}, not a dict whose keys are names: write "
            f'{option}={{"name": …}}'
        )


def _called(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def refuse_unfilled(
    column: sa.Column[Any], fields: tuple[MappedField, ...], fillers: Mapping[str, Filler]
) -> None:
    field = next((each for each in fields if each.own is column), None)
    filled = (
        column.nullable
        or column.name in fillers
        or column.server_default is not None
        or column is column.table.autoincrement_column
        or (field is not None and not field.protected)
    )
    if not filled:
        why, fix = "does not travel", "let it travel (fields= or extra=), or give it a value"
        if field is not None:
            why, fix = "comes in only when granted", "give it a value"
        raise Refusal(
            f"is NOT NULL, has no default and {why}, so that a new row could not be written: "
            f'{fix}, on_create={{"{column.name}": …}}'
        )


def refuse_ambiguous(resolved: MappedKind) -> None:
    if not is_unique(resolved.table, resolved.identity):
        columns = ", ".join(column.name for column in resolved.identity)
        raise Refusal(f"the key is not unique in the database: add a UniqueConstraint({columns})")


def refuse_surrogate(
    name: str,
    column: sa.Column[Any],
    there: sa.Column[Any],
    *,
    way: str | None,
    natural: sa.Column[Any] | None,
) -> None:
    """Refuse a reference by a value that each host makes itself, such as an integer. `way` leads
    to the other row, in which `natural`, where there is one, is the key that travels."""
    if natural is None and there.table is not column.table:
        natural = next(
            (
                each
                for each in there.table.columns
                if isinstance(each.type, sa.String) and is_unique(there.table, [each])
            ),
            None,
        )
    fix = "take it out"
    if natural is not None and way is not None:
        fix = f'name the way to what does, fields={{"{name}": "{way}.{natural.key}"}}'
    raise Refusal(
        f"column {column.name} refers to {there}, which does not tell the same row on another "
        f"host, where the record would come to belong to whoever has that value: {fix}"
    )


def refuse_subclasses(
    model: Model,
    fields: Iterable[MappedField],
    where: ColumnElement[bool] | None,
    fillers: Mapping[str, Filler],
) -> None:
    """Refuse a model whose rows may be of classes that a new row could not be made of."""
    mapper, column = model.mapper, model.discriminator
    if mapper is None or column is None:
        return
    if where is not None and column in columns_in(where):
        # The host has said which rows count.
        return
    others = [each for each in mapper.self_and_descendants if each is not mapper]
    spread = [each.class_.__name__ for each in others if each.local_table is not model.table]
    only = f"where={model.label}.{mapper.get_property_by_column(column).key} == …"
    if spread:
        raise Refusal(
            f"rows of {', '.join(spread)} have a second part in a table of their own, which does "
            f"not travel: leave them out, {only}"
        )
    if any(field.own is column for field in fields):
        return
    travel = f'let it travel, extra=["{mapper.get_property_by_column(column).key}"]'
    if others:
        names = ", ".join(each.class_.__name__ for each in others)
        raise Refusal(
            f"column {column.name} tells {names} from {model.label}, and does not travel, so that "
            f"a restore would make all of them {model.label}: {travel}, or leave them out, {only}"
        )
    if mapper.polymorphic_identity is None and column.name not in fillers:
        raise Refusal(
            f"{model.label} has no polymorphic_identity, so that column {column.name} of a new row "
            f"would be empty: give it one, or {travel}"
        )
