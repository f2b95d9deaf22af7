"""Which staged records can not be written, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from hexhub_backup.archive.faults import shown
from hexhub_backup.marking import marked
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.staging import Staged
from hexhub_backup.registry.comparing.unique_conflicts import Rule, unique_rules
from hexhub_backup.registry.comparing.unique_indexes import ReflectedTable
from hexhub_backup.registry.mapping.mapped_kinds import MappedField, MappedKinds


def rules_of(
    matched: Matched,
    kinds: MappedKinds,
    staged: Mapping[str, Staged],
    blocked: sa.Table,
    table: ReflectedTable,
    *,
    overwrite: bool,
    is_empty: bool,
    has_problems: bool,
) -> list[Rule]:
    """The rules for one kind, the first that holds counts.

    `blocked` is the table (`kind`, `n`) of what was blocked so far, parents first; `table` is what
    the database says of the kind's own table, `is_empty` whether that has no row, and
    `has_problems` whether a staged record has one. Rules that can't hold are left out: to say each
    to a database takes longer than it takes for many records.
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
    if not has_problems:
        rules.clear()
    for field in matched.staged.mapped.fields:
        if field.reference is not None and matched.staged.writes(field):
            rules += _reference_rules(matched, field, kinds, staged, blocked, overwrite=overwrite)
    for unique in table.uniques:
        rules += unique_rules(matched, unique, table, is_empty=is_empty)
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
            lambda other: marked(
                f"its {field.name} {shown(other)} is not in the registry: create it there first"
            ),
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
        lambda other: marked(
            f"its {one} {shown(other)} is neither in the registry nor in what is restored: create "
            "it first, then inspect the archive again"
        ),
    )
    yield Rule(
        absent.where(is_blocked),
        lambda other: marked(f"its {one} {shown(other)} can't be restored: fix that first"),
    )
    where = kinds[reference.kind.name].where
    if reference.parent and where is not None:
        hidden = rows.where(reached, sa.case((where, 0), else_=1) == 1)
        if overwrite:
            hidden = hidden.where(sa.or_(sa.not_(in_archive), is_blocked))
        yield Rule(
            hidden,
            lambda other: marked(
                f"its {one} {shown(other)} is in the registry, but the host hides it: let the host "
                "show it again, or restore it too, with the strategy overwrite"
            ),
        )
