"""The one transaction of an undo: what the restore created goes, what it replaced comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS, OWNERS, PACKAGES, RELEASES, USERS, Kind, Record
from hexhub_backup.registry.base import Action, Registry, Undoing
from hexhub_backup.testing.registries.deciding import DECISIONS, decisions
from hexhub_backup.testing.registries.host import Records, RegistryHost, compared


@dataclass(frozen=True)
class UndoSet:
    """What a restore did, and what was there before it, by number."""

    left: dict[Kind, list[tuple[int, Record, Action]]]
    before: dict[Kind, list[tuple[int, Record]]]


class UndoingConformance(RegistryHost):
    """What an undo relies on."""

    def created(self) -> dict[Kind, list[Record]]:
        """Eve, and a package of hers that has a release: not in `registry`."""
        return {
            USERS: [self.record(USERS, "eve")],
            PACKAGES: [self.record(PACKAGES, "ecto")],
            RELEASES: [self.record(RELEASES, "ecto", "3.0.0")],
            OWNERS: [self.record(OWNERS, "ecto", "eve"), self.record(OWNERS, "jason", "eve")],
        }

    def restore(self, registry: Registry, overwritten: Records, created: Records) -> UndoSet:
        """Restore, and note what an undo needs: first come the numbers of `overwritten`."""
        undo = UndoSet({}, {})
        with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
            for kind in KINDS:
                rows: list[tuple[Record, Action]] = [
                    *((record, "overwrite") for record in overwritten.get(kind, ())),
                    *((record, "create") for record in created.get(kind, ())),
                ]
                undo.left[kind] = [(n, *row) for n, row in enumerate(rows, 1)]
                restoration.stage(kind, undo.left[kind])
            with restoration.decision():
                compared(restoration)
                for kind in KINDS:
                    replaced = restoration.replaced(kind)
                    undo.before[kind] = [(n, record) for n, record in replaced if record]
                restoration.write_all()
        return undo

    @contextmanager
    def undoing(
        self, registry: Registry, undo: UndoSet, *, actor: str | None = None
    ) -> Iterator[Undoing]:
        """The undo of a restore, staged."""
        with registry.undoing(protected=False, actor=actor) as undoing:
            for kind in KINDS:
                undoing.left.stage(kind, undo.left[kind])
                before: list[tuple[int, Record, Action]] = [
                    (n, record, "overwrite") for n, record in undo.before[kind]
                ]
                undoing.before.stage(kind, before)
            yield undoing

    def undo(self, undoing: Undoing) -> list[str]:
        """Do it, inside its decision, as an undo does. Gives the labels of what stays."""
        removed = undoing.remove()
        for kind in KINDS:
            assert {each.state for each in undoing.before.compare(kind)} <= {
                "conflict",
                "unchanged",
            }
            undoing.before.write(kind)
        if not removed:
            removed = undoing.remove()
        stays = [kind.label(key) for kind in KINDS for _, key in undoing.referred(kind)]
        assert removed == (not stays)
        return stays

    def test_an_undo_removes_what_was_created_and_brings_back_what_was_overwritten(
        self, registry: Registry
    ) -> None:
        before = self.read(registry)
        undo = self.restore(registry, self.usual(variant=1), self.created())
        assert self.read(registry) != before
        with self.undoing(registry, undo) as undoing, undoing.decision():
            assert self.undo(undoing) == []
        assert self.read(registry) == before

    def test_an_undo_commits_rows_and_our_tables_together(self, registry: Registry) -> None:
        """An exception undoes it wholly, and it can be begun again."""
        with registry.engine.begin() as connection:
            DECISIONS.create(connection)
        before = self.read(registry)
        undo = self.restore(registry, self.usual(variant=1), self.created())
        after = self.read(registry)

        def decide(undoing: Undoing) -> None:
            with undoing.decision() as connection:
                connection.execute(sa.insert(DECISIONS).values(id=7))
                self.undo(undoing)
                raise ZeroDivisionError

        with self.undoing(registry, undo) as undoing, pytest.raises(ZeroDivisionError):
            decide(undoing)
        assert self.read(registry) == after
        assert decisions(registry) == []
        with self.undoing(registry, undo) as undoing, undoing.decision() as connection:
            connection.execute(sa.insert(DECISIONS).values(id=8))
            self.undo(undoing)
        assert self.read(registry) == before
        assert decisions(registry) == [8]
        with registry.engine.begin() as connection:
            DECISIONS.drop(connection)

    def test_nobody_else_writes_during_the_decision_of_an_undo(self, registry: Registry) -> None:
        """What others changed is looked for in it, and stays."""
        undo = self.restore(registry, {}, self.created())
        late = self.record(PACKAGES, "late")
        with self.beside() as begin:
            with self.undoing(registry, undo) as undoing, undoing.decision():
                written = begin(lambda: self.store(registry, PACKAGES, late))
                assert not written.done() or written.exception() is not None
                self.undo(undoing)
            was_refused = written.exception() is not None
        assert (("late",) in self.keys(registry)[PACKAGES]) != was_refused

    def test_what_others_changed_since_the_restore_is_seen(self, registry: Registry) -> None:
        """It stays as it is: an undo asks for it inside the decision, and spares it."""
        undo = self.restore(registry, self.usual(variant=1), self.created())
        self.store(registry, PACKAGES, self.record(PACKAGES, "jason", variant=2))
        self.delete(registry, OWNERS, self.record(OWNERS, "ecto", "eve"))
        with self.undoing(registry, undo, actor="bob") as undoing, undoing.decision():
            found = {
                kind.label(each.key): each
                for kind in KINDS
                for each in undoing.left.compare(kind, blocking=False)
            }
        assert found["package jason"].differs
        assert found["owner ecto eve"].state == "create"
        assert {label for label, each in found.items() if each.own} == {"user bob"}
        others = found.keys() - {"package jason", "owner ecto eve"}
        assert {found[label].state for label in others} == {"unchanged"}

    def test_what_is_spared_stays_as_it_is(self, registry: Registry) -> None:
        """Neither removed nor brought back."""
        undo = self.restore(registry, self.usual(variant=1), self.created())
        with self.undoing(registry, undo) as undoing:
            # Bob, who was overwritten, and eve and the owner of jason, who were created.
            undoing.spare(USERS, [2, 3])
            with undoing.decision():
                undoing.spare(OWNERS, [3])
                assert self.undo(undoing) == []
        records = self.usual()
        records[USERS] = [
            self.record(USERS, "ann"),
            self.record(USERS, "bob", variant=1),
            self.record(USERS, "eve"),
        ]
        records[OWNERS] += [self.record(OWNERS, "jason", "eve")]
        self.assert_holds(registry, records)

    def test_what_other_rows_refer_to_stays_and_is_listed(self, registry: Registry) -> None:
        """The host has published a release of a package that the restore created."""
        undo = self.restore(registry, {}, self.created())
        self.store(registry, RELEASES, self.record(RELEASES, "ecto", "4.0.0"))
        with self.undoing(registry, undo) as undoing, undoing.decision():
            assert self.undo(undoing) == ["package ecto"]
        records = self.usual()
        records[PACKAGES] += [self.record(PACKAGES, "ecto")]
        records[RELEASES] += [self.record(RELEASES, "ecto", "4.0.0")]
        self.assert_holds(registry, records)

    def test_what_is_gone_already_is_no_obstacle(self, registry: Registry) -> None:
        """It is removed by then."""
        undo = self.restore(registry, {}, self.created())
        for kind in (OWNERS, RELEASES, PACKAGES):
            for record in self.created()[kind]:
                self.delete(registry, kind, record)
        with self.undoing(registry, undo) as undoing, undoing.decision():
            for kind in (OWNERS, RELEASES, PACKAGES):
                undoing.spare(kind, [n for n, _, _ in undo.left[kind]])
            assert self.undo(undoing) == []
        self.assert_holds(registry, self.usual())
