"""Which staged records can not be written, and the sentence that says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, visitors

from hexhub_backup.registry.mapping import MappedField, MappedKinds, Unique, uniques
from hexhub_backup.registry.matching import Matched
from hexhub_backup.registry.queries import Expression, label_of, same
from hexhub_backup.registry.staging import Staged


@dataclass(frozen=True, eq=False)
class Rule:
    """`select` gives `n` of each record that the rule blocks, and `other`, a text for
    `sentence`."""

    select: sa.Select[Any]
    sentence: Callable[[str], str]


def rules_of(
    matched: Matched,
    kinds: MappedKinds,
    staged: Mapping[str, Staged],
    blocked: sa.Table,
    dialect: sa.Dialect,
    *,
    overwrite: bool,
) -> list[Rule]:
    """The rules for one kind, the first that holds counts.

    `blocked` is the table (`kind`, `n`) of what was blocked so far, parents first.
    """
    mine = matched.staged.table
    rules = [
        Rule(
            matched.select(mine.c.n, mine.c.problem.label("other")).where(
                mine.c.problem.is_not(None)
            ),
            str,
        ),
        Rule(
            matched.select(mine.c.n, mine.c.problem_on_create.label("other")).where(
                mine.c.problem_on_create.is_not(None), sa.not_(matched.found)
            ),
            str,
        ),
    ]
    for field in matched.staged.mapped.fields:
        if field.reference is not None and matched.staged.writes(field):
            rules += _reference_rules(matched, field, kinds, staged, blocked, overwrite=overwrite)
    for unique in uniques(matched.staged.mapped.table):
        rules += _unique_rules(matched, unique, dialect)
    return rules


# --- what a record refers to -------------------------------------------------------------


def _reference_rules(
    matched: Matched,
    field: MappedField,
    kinds: MappedKinds,
    staged: Mapping[str, Staged],
    blocked: sa.Table,
    *,
    overwrite: bool,
) -> Iterator[Rule]:
    reference, mine = field.reference, matched.staged
    assert reference is not None  # noqa: S101 (the caller has looked)
    value, reached = mine.values[field.name], matched.reached[field.name]
    rows = matched.select(mine.table.c.n, sa.cast(value, sa.Text()).label("other"))
    rows = rows.where(value.is_not(None), mine.has(field))
    absent = rows.where(sa.not_(reached))
    if field.fixed:
        # A row that is there already does not depend on it any more.
        absent = absent.where(sa.not_(matched.found))
    if reference.kind is None:
        yield Rule(
            absent,
            lambda other: f"its {field.name} {other} is not in the registry: create it there first",
        )
        return
    parent, one = staged[reference.kind.name], reference.kind.one
    same_key = parent.values[reference.kind.key[0]] == value
    in_archive = sa.exists().where(same_key).correlate(mine.table)
    is_blocked = (
        sa.exists()
        .where(same_key, blocked.c.kind == reference.kind.name, blocked.c.n == parent.table.c.n)
        .correlate(mine.table)
    )
    yield Rule(
        absent.where(sa.not_(in_archive)),
        lambda other: (
            f"its {one} {other} is neither in the registry nor in what is restored: create it "
            "first, then inspect the archive again"
        ),
    )
    yield Rule(
        absent.where(is_blocked),
        lambda other: f"its {one} {other} is blocked itself: mend that first",
    )
    where = kinds[reference.kind.name].where
    if reference.parent and where is not None:
        hidden = rows.where(reached, sa.case((where, 0), else_=1) == 1)
        if overwrite:
            hidden = hidden.where(sa.or_(sa.not_(in_archive), is_blocked))
        yield Rule(
            hidden,
            lambda other: (
                f"its {one} {other} is in the registry, but the host hides it: let the host show "
                "it again, or restore it too, with the strategy overwrite"
            ),
        )


# --- what the database holds unique ------------------------------------------------------


def _unique_rules(matched: Matched, unique: Unique, dialect: sa.Dialect) -> Iterator[Rule]:
    mine, mapped = matched.staged.table, matched.staged.mapped
    named = {field.own.name: field.name for field in mapped.fields}
    names = " and ".join(sorted(named.get(column.name, column.name) for column in unique.columns))
    # Where only another dialect has the condition, this one holds all rows unique.
    condition = unique.conditions.get(dialect.name)
    if isinstance(condition, sa.TextClause):
        return
    is_key = unique.columns <= set(mapped.identity)
    if not is_key:
        yield _held_by_a_row(matched, unique, condition, names)

    written = _effective(matched, for_archive=True)
    parts = [_collated(_moved(each, written), each, dialect) for each in unique.expressions]
    fights = matched.select(
        mine.c.n,
        sa.func.min(mine.c.n).over(partition_by=parts).label("first"),
        sa.func.max(mine.c.n).over(partition_by=parts).label("last"),
    ).where(*(part.is_not(None) for part in parts))
    if condition is not None:
        fights = fights.where(_moved(condition, written))
    found = fights.subquery("fights")
    other = mine.alias("other")
    other_n = sa.case((found.c.n == found.c.first, found.c.last), else_=found.c.first)
    label = mapped.kind.label
    sentence = (
        "to the database it is {} of the archive, only spelled otherwise"
        if is_key
        else f"it has the same {names} as {{}} of the archive"
    ) + ": take one of the two out where the archive was made"
    yield Rule(
        sa.select(found.c.n, other.c.key.label("other"))
        .select_from(found.join(other, other.c.n == other_n))
        .where(found.c.first != found.c.last),
        lambda key: sentence.format(label(tuple(json.loads(key)))),
    )


def _held_by_a_row(matched: Matched, unique: Unique, condition: Any, names: str) -> Rule:
    """The same values in another row of the registry, whatever becomes of that."""
    mapped = matched.staged.mapped
    mine, row = matched.staged.table, mapped.table.alias("row")
    written = _effective(matched, for_archive=False)
    in_row = {column.name: same(row, column) for column in mapped.table.columns}
    on = [_moved(each, in_row) == _moved(each, written) for each in unique.expressions]
    if condition is not None:
        on += [_moved(condition, in_row), _moved(condition, written)]
    source = matched.source.join(row, sa.and_(*on))
    keys: list[Expression] = []
    for field in mapped.keys:
        key = same(row, field.own)
        if field.looked_up and field.reference is not None:
            there = field.reference.remote.table.alias()
            source = source.outerjoin(there, same(there, field.reference.remote) == key)
            key = same(there, field.reference.value)
        keys.append(key)
    itself = sa.and_(*(same(row, column) == column for column in mapped.identity))
    one = mapped.kind.one
    return Rule(
        sa.select(mine.c.n, label_of(keys).label("other"))
        .select_from(source)
        .where(sa.or_(sa.not_(matched.found), sa.not_(itself))),
        lambda other: (
            f"{one} {other} of the registry has the same {names}: change one of the two, then "
            "inspect the archive again"
        ),
    )


def _effective(matched: Matched, *, for_archive: bool) -> dict[str, Expression]:
    """What each column would hold after the record was written; null where only the database
    knows. `for_archive`: a parent is told by its key, as it may be new itself."""
    staged, mapped = matched.staged, matched.staged.mapped
    values: dict[str, Expression] = {}
    by_column = {field.own.name: field for field in mapped.fields if staged.writes(field)}
    for column in mapped.table.columns:
        field = by_column.get(column.name)
        made: Expression = staged.made.get(column.name, sa.null())
        if field is not None and field.key:
            by_key = for_archive or not field.looked_up
            values[column.name] = (
                staged.values[field.name] if by_key else matched.written[field.name]
            )
            continue
        whens: list[tuple[ColumnElement[bool], Expression]] = [(matched.found, column)]
        if field is not None:
            whens.insert(int(field.fixed), (staged.has(field), matched.written[field.name]))
        values[column.name] = sa.case(*whens, else_=made)
    return values


def _moved(expression: Any, values: Mapping[str, Expression]) -> Any:
    """`expression` with its columns replaced."""

    def replace(element: Any, **_options: Any) -> Any:
        return values[element.name] if isinstance(element, sa.Column) else None

    return visitors.replacement_traverse(expression, {}, replace)


def _collated(expression: Expression, original: Any, dialect: sa.Dialect) -> Expression:
    # In SQLite a CASE has no collation, whatever its parts have.
    collation = getattr(original.type.dialect_impl(dialect), "collation", None)
    return expression if collation is None else expression.collate(collation)
