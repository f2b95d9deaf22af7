"""The one transaction of a restore: rows and our tables, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS, PACKAGES, USERS, Record
from hexhub_backup.errors import DatabaseError, RefusedError, RightsError
from hexhub_backup.registry.base import Action, Registry, Restoration
from hexhub_backup.testing.registries.host import NewRegistry, RegistryHost, compared

#: As one of ours.
DECISIONS = sa.Table(
    "hexhub_backup_conformance", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)
)


def decisions(registry: Registry) -> list[int]:
    """What is in our table, as another connection of the engine sees it."""
    with registry.engine.connect() as connection:
        return list(connection.execute(sa.select(DECISIONS.c.id)).scalars())


class DecidingConformance(RegistryHost):
    """What a restore relies on."""

    @pytest.fixture
    def decided(self, registry: Registry) -> Iterator[Registry]:
        """A registry whose database has a table of ours."""
        with registry.engine.begin() as connection:
            DECISIONS.create(connection)
        yield registry
        with registry.engine.begin() as connection:
            DECISIONS.drop(connection)

    def test_a_decision_commits_rows_and_our_tables_together(self, decided: Registry) -> None:
        """A restore has happened where its row says so, and nowhere else."""
        new = {PACKAGES: [self.record(PACKAGES, "ecto")]}
        with self.staged(decided, new, "create") as restoration:
            with restoration.decision() as connection:
                assert connection is restoration.connection
                compared(restoration)
                restoration.write_all()
                connection.execute(sa.insert(DECISIONS).values(id=7))
            # Whoever looks sees both by now.
            assert decisions(decided) == [7]
            assert self.keys(decided)[PACKAGES] == [("ecto",), ("jason",)]

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    def test_an_exception_in_a_decision_undoes_all_of_it(
        self, decided: Registry, error: type[BaseException]
    ) -> None:
        """What was found to have changed, a full disk and a signal end a decision this way."""
        before = self.read(decided)
        records = self.usual(variant=1)

        def decide(restoration: Restoration) -> None:
            with restoration.decision() as connection:
                compared(restoration)
                connection.execute(sa.insert(DECISIONS).values(id=7))
                restoration.write_all()
                raise error

        with self.staged(decided, records, "overwrite") as restoration, pytest.raises(error):
            decide(restoration)
        assert self.read(decided) == before
        assert decisions(decided) == []

    def test_nobody_else_writes_during_a_decision(self, registry: Registry) -> None:
        """Each action is worked out again in it, and nothing comes between that and the commit."""
        late = self.record(PACKAGES, "late")
        new = {PACKAGES: [self.record(PACKAGES, "ecto")]}
        with self.beside() as begin, self.staged(registry, new, "create") as restoration:
            with restoration.decision():
                compared(restoration)
                written = begin(lambda: self.store(registry, PACKAGES, late))
                assert not written.done() or written.exception() is not None
                restoration.write_all()
            was_refused = written.exception() is not None
        assert (("late",) in self.keys(registry)[PACKAGES]) != was_refused
        assert ("ecto",) in self.keys(registry)[PACKAGES]

    def test_a_decision_sees_what_was_written_since_the_records_were_staged(
        self, registry: Registry
    ) -> None:
        """The plan may be days old."""
        new = {PACKAGES: [self.record(PACKAGES, "ecto")]}
        with self.staged(registry, new) as restoration:
            assert [each.state for each in compared(restoration)[PACKAGES]] == ["create"]
            self.store(registry, PACKAGES, self.record(PACKAGES, "ecto", variant=1))
            with restoration.decision():
                assert [each.state for each in compared(restoration)[PACKAGES]] == ["conflict"]

    def test_only_what_has_an_action_is_written(self, registry: Registry) -> None:
        """Conflicts that stay and records that were not chosen are staged for the others' sake."""
        rows = [
            (1, self.record(PACKAGES, "jason", variant=1), None),
            (2, self.record(PACKAGES, "ecto"), "create"),
            (3, self.record(PACKAGES, "plug"), None),
        ]
        with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
            restoration.stage(PACKAGES, rows)  # type: ignore[arg-type]
            with restoration.decision():
                list(restoration.compare(PACKAGES))
                restoration.write(PACKAGES)
        records = self.usual()
        records[PACKAGES] += [self.record(PACKAGES, "ecto")]
        self.assert_holds(registry, records)

    def test_what_is_overwritten_becomes_the_archives(self, registry: Registry) -> None:
        self.write(registry, self.usual(variant=1), "overwrite")
        self.assert_holds(registry, self.usual(variant=1))

    def test_what_a_record_does_not_have_keeps_its_value(self, registry: Registry) -> None:
        """The archive of an older host takes nothing away."""
        before = self.read(registry)
        records = {
            kind: [{name: each[name] for name in kind.key} for each in records]
            for kind, records in before.items()
        }
        self.write(registry, records, "overwrite")
        assert self.read(registry) == before

    def test_exactly_what_was_staged_is_written_or_nothing(self, registry: Registry) -> None:
        """A row that is there is not created, and one that is gone is not overwritten: whoever
        reads the outcome can count on its numbers."""
        before = self.read(registry)
        there = {PACKAGES: [self.record(PACKAGES, name, variant=1) for name in ("ecto", "jason")]}
        actions: tuple[Action, ...] = ("create", "overwrite")
        for action in actions:
            with pytest.raises((DatabaseError, RefusedError)):
                self.write(registry, there, action)
        assert self.read(registry) == before

    def test_the_account_of_who_restores_is_never_written(self, registry: Registry) -> None:
        """Whatever was staged, nobody locks themselves out."""
        before = self.read(registry)
        users = {USERS: self.usual(variant=1)[USERS]}
        for protected in (False, True):
            with pytest.raises((DatabaseError, RefusedError)):
                self.write(registry, users, "overwrite", protected=protected, actor="ann")
        assert self.read(registry) == before

    def test_what_is_going_to_be_overwritten_can_be_kept(self, registry: Registry) -> None:
        """Undo sets are made of this: each has the key and the fields that are overwritten."""
        with (
            self.staged(registry, self.usual(variant=1), "overwrite") as restoration,
            restoration.decision(),
        ):
            compared(restoration)
            replaced = {kind: list(restoration.replaced(kind)) for kind in KINDS}
            restoration.write_all()
        for kind, records in self.usual().items():
            assert [n for n, _ in replaced[kind]] == list(range(1, len(records) + 1))
            fields = registry.fields(kind)
            for (_, before), record in zip(replaced[kind], records, strict=True):
                assert before is not None
                assert before.keys() >= {*kind.key}
                assert before == {name: record[name] for name in before if name in fields}
        old = {kind: [each or {} for _, each in replaced[kind]] for kind in KINDS}
        self.write(registry, old, "overwrite")
        self.assert_holds(registry, self.usual())

    def test_a_registry_is_brought_back_from_its_own_backup(
        self, registry: Registry, new_registry: NewRegistry
    ) -> None:
        """Into another one, and all kinds at once."""
        other = new_registry()
        records = self.read(registry)
        self.write(other, records, protected=True)
        assert self.read(other) == records
        with self.staged(other, records) as restoration:
            assert [key for kind in KINDS for key in restoration.still_hidden(kind)] == []

    # --- protected rights ----------------------------------------------------------------------

    @pytest.fixture
    def admin(self) -> Record:
        """eve, with the right of `right`."""
        if not self.right:
            pytest.skip("the registry protects no rights")
        return self.record(USERS, "eve") | {**self.right}

    def test_a_right_comes_in_only_where_it_is_granted(
        self, new_registry: NewRegistry, admin: Record
    ) -> None:
        """Whoever makes an archive must not become an admin by it."""
        for granted in (False, True):
            registry = new_registry()
            (found,) = self.compare(registry, {USERS: [admin]}, protected=granted)[USERS]
            assert (found.state, {*found.would_hold}) == ("create", {*self.right})
            assert {*found.protected} == {*self.right}
            self.write(registry, {USERS: [admin]}, protected=granted)
            with self.staged(registry, {}) as restoration:
                rights = restoration.rights()
            assert {field for field, _ in rights} == ({*self.right} if granted else set())
            assert {*rights.values()} <= {1}
            (found,) = self.compare(registry, {USERS: [admin]})[USERS]
            assert (found.state, found.holds) == ("unchanged", granted)

    @pytest.mark.parametrize("holds", ["here", "in the archive"])
    def test_an_account_that_holds_a_right_is_not_overwritten_without_a_grant(
        self, new_registry: NewRegistry, admin: Record, holds: str
    ) -> None:
        """Its password would be that of the archive. Whatever was staged."""
        registry = new_registry()
        other = self.record(USERS, "eve", variant=1)
        here, archived = (admin, other) if holds == "here" else (other, admin)
        self.write(registry, {USERS: [here]}, protected=True)
        before = self.read(registry)
        (found,) = self.compare(registry, {USERS: [archived]})[USERS]
        assert found.privileged
        with pytest.raises(RightsError):
            self.write(registry, {USERS: [archived]}, "overwrite")
        assert self.read(registry) == before
        self.write(registry, {USERS: [archived]}, "overwrite", protected=True)
        assert self.read(registry) != before
