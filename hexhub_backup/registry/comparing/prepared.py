"""The tables and statements of a restoration, which the next one of its kind uses again."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from hexhub_backup.archive.records import USERS, Kind
from hexhub_backup.databases.base import Database
from hexhub_backup.registry.comparing.blocking import rules_of
from hexhub_backup.registry.comparing.comparison import Comparer
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.rights import Rights
from hexhub_backup.registry.comparing.staging import Staged
from hexhub_backup.registry.comparing.unique_conflicts import Rule
from hexhub_backup.registry.comparing.unique_indexes import ReflectedTable
from hexhub_backup.registry.mapping.mapped_kinds import MappedKinds
from hexhub_backup.registry.queries import visible

#: The parameter that is the acting admin's key, null where nobody acts.
ACTOR = "hexhub_backup_actor"


@dataclass(frozen=True)
class Blocking:
    """The rules for the records of a kind, and the statement of each that says whom it blocks and
    no earlier one does. `table` is what they were made for."""

    table: ReflectedTable
    rules: list[Rule]
    statements: list[sa.Insert]


class Prepared:
    """What restorations on one database share that are alike in `granted` and `overwrite`.

    To build a statement takes longer than to run it on few records, and in the decision others
    wait for it; and SQLAlchemy knows one again by the tables in it: it would compile it anew for
    new tables. `name` tells the tables of two restorations on one connection apart.
    """

    def __init__(
        self, kinds: MappedKinds, name: str, database: Database, *, granted: bool, overwrite: bool
    ) -> None:
        self.kinds = kinds
        self.granted = granted
        self._overwrite = overwrite
        self.matched = {
            kind: Matched(Staged(mapped, name, granted=granted)) for kind, mapped in kinds.items()
        }
        self.staged = {kind: matched.staged for kind, matched in self.matched.items()}
        self.rights = {kind: Rights(matched, kinds) for kind, matched in self.matched.items()}
        #: What was found to be blocked, by which rule, and the text for the rule's sentence.
        self.blocked = sa.Table(
            f"hexhub_backup_{name}_blocked",
            sa.MetaData(),
            sa.Column("kind", sa.String(20), primary_key=True),
            sa.Column("n", sa.BigInteger(), primary_key=True, autoincrement=False),
            sa.Column("rule", sa.Integer(), nullable=False),
            sa.Column("other", sa.Text()),
            prefixes=["TEMPORARY"],
        )
        username = kinds[USERS.name].identity[0]
        own = username == sa.bindparam(ACTOR, type_=username.type)
        self.comparers = {
            kind: Comparer(
                matched,
                self.rights[kind],
                self.blocked,
                database,
                shown=visible(kinds[kind], kinds),
                own=own if kind == USERS.name else sa.false(),
                granted=granted,
            )
            for kind, matched in self.matched.items()
        }
        self._blocking: dict[tuple[str, bool, bool], Blocking] = {}

    def blocking(
        self, kind: Kind, table: ReflectedTable, *, is_empty: bool, has_problems: bool
    ) -> Blocking:
        """See `rules_of`."""
        key = kind.name, is_empty, has_problems
        known = self._blocking.get(key)
        # An index that is made after that counts the next time.
        if known is None or known.table != table:
            rules = rules_of(
                self.matched[kind.name],
                self.kinds,
                self.staged,
                self.blocked,
                table,
                overwrite=self._overwrite,
                is_empty=is_empty,
                has_problems=has_problems,
            )
            statements = [self._statement(kind, *each) for each in enumerate(rules)]
            self._blocking[key] = known = Blocking(table, rules, statements)
        return known

    def _statement(self, kind: Kind, number: int, rule: Rule) -> sa.Insert:
        blocked, found = self.blocked, rule.select.subquery("found")
        before = sa.select(blocked.c.n).where(blocked.c.kind == kind.name)
        fresh = (
            sa.select(
                sa.literal(kind.name, sa.String(20)),
                found.c.n,
                sa.literal(number, sa.Integer()),
                sa.func.min(found.c.other),
            )
            .where(found.c.n.not_in(before))
            .group_by(found.c.n)
        )
        return sa.insert(blocked).from_select(["kind", "n", "rule", "other"], fresh)
