"""The statements that write staged records into the host's tables, a shape at a time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import TableClause, operators

from hexhub_backup.archive.records import USERS
from hexhub_backup.databases.base import Insertion
from hexhub_backup.registry.comparing.comparison import totp_off
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.staging import Staged
from hexhub_backup.registry.mapping.mapped_kinds import MappedField
from hexhub_backup.registry.queries import Expression, has_secret, plain, same

#: Which of the staged records, of those that a statement is for; None is all.
Within = sa.ColumnElement[bool] | None


def insertion(
    matched: Matched, shape: str, _actor: Any, dialect: sa.Dialect, within: Within = None
) -> sa.Insert:
    """INSERT the records of `shape` that are to be created, in order of `n`.

    A column that the record does not have gets what fills it on the client's side, and is
    otherwise left to the database's default.
    """
    staged, mapped = matched.staged, matched.staged.mapped
    by_column = {field.own.name: field for field in mapped.fields}
    values: dict[str, Expression] = {}
    for column in mapped.table.columns:
        field, filler = by_column.get(column.name), mapped.fillers.get(column.name)
        if field is not None and staged.is_totp(field):
            values[column.name] = _off(field)
        elif field is not None and _sets(staged, field, shape):
            values[column.name] = matched.written[field.name]
        elif column.name in staged.made:
            values[column.name] = staged.made[column.name]
        elif (
            filler is not None
            and filler.expression is not None
            and (dialect.supports_sequences or not filler.sequence)
        ):
            values[column.name] = filler.expression
    rows = matched.select(*(value.label(f"v{at}") for at, value in enumerate(values.values())))
    rows = rows.where(_chosen(staged, "create", shape, within), sa.not_(matched.found))
    return Insertion(plain(mapped)).from_select(
        list(values), rows.order_by(staged.table.c.n), include_defaults=False
    )


def update(
    matched: Matched, shape: str, actor: Any, _dialect: sa.Dialect, within: Within = None
) -> sa.Update | None:
    """UPDATE in place the rows of `shape` that are to be overwritten, but not that of `actor`.

    Fixed fields and all that does not travel stay. None: nothing to set. A plain join from the
    staged rows: databases plan it well, other than one to a subquery.
    """
    staged, mapped = matched.staged, matched.staged.mapped
    table = plain(mapped)
    values: dict[str, Expression] = {}
    for field in overwritten_fields(matched):
        if staged.is_totp(field) and mapped.totp_secret is not None:
            secret = has_secret(table.c[mapped.totp_secret.name])
            kept = sa.case((secret, table.c[field.own.name]), else_=_off(field))
            values[field.own.name] = kept
        elif _sets(staged, field, shape):
            values[field.own.name] = _looked_up(staged, field)
    if not values:
        return None
    if mapped.version is not None:
        values[mapped.version.name] = _next_version(staged, mapped.version, table)
    on = [_chosen(staged, "overwrite", shape, within)]
    for field in mapped.keys:
        value: Expression = staged.values[field.name]
        if field.looked_up and field.reference is not None:
            on.append(field.reference.value == value)
            value = field.reference.remote
        # Not `==`, which Python may turn round: the host's collation counts, on the left.
        on.append(table.c[field.own.name].operate(operators.eq, value))
    if mapped.kind is USERS and actor is not None:
        on.append(table.c[mapped.identity[0].name] != actor)
    return sa.update(table).values(values).where(*on)


def _next_version(staged: Staged, version: sa.Column[Any], table: TableClause) -> Expression:
    """A count is moved on; another version, such as a random text, is a new one."""
    if isinstance(version.type, sa.Integer):
        return sa.func.coalesce(table.c[version.name], 0) + 1
    return staged.made[version.name]


def overwritten_fields(matched: Matched) -> list[MappedField]:
    """The fields that `update` may set; it leaves those that a record does not have."""
    staged = matched.staged
    return [
        field
        for field in staged.mapped.fields
        if not field.fixed and (staged.writes(field) or staged.is_totp(field))
    ]


def _looked_up(staged: Staged, field: MappedField) -> Expression:
    value = staged.values[field.name]
    if not field.looked_up or field.reference is None:
        return value
    other = field.reference.remote.table.alias()
    return (
        sa.select(same(other, field.reference.remote))
        .where(same(other, field.reference.value) == value)
        .scalar_subquery()
    )


def _sets(staged: Staged, field: MappedField, shape: str) -> bool:
    return staged.writes(field) and shape[staged.mapped.fields.index(field)] == "1"


def _off(field: MappedField) -> Expression:
    return sa.literal(totp_off(field), field.own.type)


def _chosen(staged: Staged, action: str, shape: str, within: Within) -> sa.ColumnElement[bool]:
    chosen = sa.and_(staged.table.c.action == action, staged.table.c.shape == shape)
    return chosen if within is None else sa.and_(chosen, within)
