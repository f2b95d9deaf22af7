"""Staged records beside the registry as it is: what a plan says of each."""

from __future__ import annotations

import pytest

from hexhub_backup.archive.records import (
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Kind,
    Record,
)
from hexhub_backup.registry.base import Action, Comparison, Registry
from hexhub_backup.testing.registries.host import NewRegistry, RegistryHost, compared


class ComparingConformance(RegistryHost):
    """What an inspection relies on."""

    def test_records_that_are_not_there_would_be_created(self, new_registry: NewRegistry) -> None:
        """A record whose parents are in the archive needs none in the registry."""
        found = self.compare(new_registry(), self.usual())
        for kind, records in self.usual().items():
            assert [each.state for each in found[kind]] == ["create"] * len(records)
            assert [each.key for each in found[kind]] == [kind.key_of(each) for each in records]
            assert [each.n for each in found[kind]] == list(range(1, len(records) + 1))

    def test_records_of_the_registry_are_unchanged(self, registry: Registry) -> None:
        """A restore of the latest backup has nothing to do."""
        found = self.compare(registry, self.read(registry))
        assert {each.state for kind in KINDS for each in found[kind]} == {"unchanged"}
        assert {each.differs for kind in KINDS for each in found[kind]} == {()}

    def test_a_record_that_differs_is_a_conflict_which_names_the_fields(
        self, registry: Registry
    ) -> None:
        found = self.compare(registry, self.usual(variant=1))
        for kind in KINDS:
            for each in found[kind]:
                assert each.state == "conflict"
                assert each.differs
                assert {*each.differs} <= registry.fields(kind) - {*kind.key}

    def test_a_field_that_a_record_does_not_have_is_not_compared(self, registry: Registry) -> None:
        """An archive of an older host has fewer fields."""
        records = {
            kind: [{name: each[name] for name in kind.key} for each in records]
            for kind, records in self.usual().items()
        }
        found = self.compare(registry, records)
        assert {each.state for kind in KINDS for each in found[kind]} == {"unchanged"}

    def test_a_field_without_a_column_is_passed_over(self, registry: Registry) -> None:
        """An archive of another host has more fields."""
        records = {
            kind: [each | {"of_another_host": 7} for each in records]
            for kind, records in self.usual().items()
        }
        found = self.compare(registry, records)
        assert {each.state for kind in KINDS for each in found[kind]} == {"unchanged"}

    def test_a_conflict_says_what_changes_and_nothing_of_a_secret(self, registry: Registry) -> None:
        """The page of a plan has both values; a password only differs."""
        found = self.compare(registry, self.usual(variant=1), changes=True)
        for kind in KINDS:
            for each in found[kind]:
                assert each.changes.keys() == {*each.differs}
                assert each.changes.get("password_hash") is None
                for name, change in each.changes.items():
                    assert name == "password_hash" or (change is not None and len({*change}) == 2)

    @pytest.mark.parametrize("kind", [RELEASES, OWNERS], ids=lambda kind: str(kind.name))
    def test_a_record_without_its_parent_is_blocked(self, registry: Registry, kind: Kind) -> None:
        """Its parent is neither in the archive nor in the registry. The reason is for people."""
        key = {RELEASES.name: ("nowhere", "1.0.0"), OWNERS.name: ("jason", "nobody")}[kind.name]
        (found,) = self.compare(registry, {kind: [self.record(kind, *key)]})[kind]
        assert (found.state, found.key) == ("blocked", key)
        assert found.reason

    def test_a_parent_in_the_registry_is_enough(self, registry: Registry) -> None:
        """Some packages of an archive can be restored without the others."""
        records = {
            RELEASES: [self.record(RELEASES, "jason", "2.0.0")],
            OWNERS: [self.record(OWNERS, "jason", "bob")],
        }
        found = self.compare(registry, records)
        assert [each.state for kind in records for each in found[kind]] == ["create", "create"]

    def test_a_record_that_was_refused_is_blocked_and_so_are_its_children(
        self, new_registry: NewRegistry
    ) -> None:
        """What the database has refused is left out of the next restore, with that reason."""
        with new_registry().restoration(
            protected=False, actor=None, overwrite=False
        ) as restoration:
            for kind, records in self.usual().items():
                rows = [(n, record, None) for n, record in enumerate(records, 1)]
                restoration.stage(kind, rows, {1: "a rule"} if kind is PACKAGES else {})
            found = compared(restoration)
        assert [(each.state, each.reason) for each in found[PACKAGES]] == [("blocked", "a rule")]
        assert [each.state for each in found[USERS]] == ["create", "create"]
        assert [each.state for kind in (RELEASES, OWNERS) for each in found[kind]] == [
            "blocked",
            "blocked",
        ]

    def test_comparisons_come_in_order_of_the_numbers_of_the_records(
        self, new_registry: NewRegistry
    ) -> None:
        """They are held against the plan one by one, which has gaps where records are not
        chosen."""
        names = {3: "e", 7: "a", 8: "d", 4000: "b", 5_000_000_000: "c"}
        registry = new_registry()
        with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
            rows = [(n, self.record(USERS, name), None) for n, name in names.items()]
            restoration.stage(USERS, rows)
            found = list(restoration.compare(USERS))
        assert {each.n: each.key[0] for each in found} == names
        assert [each.n for each in found] == list(names)

    def test_what_was_to_be_created_is_skipped_as_long_as_it_can_be(
        self, registry: Registry
    ) -> None:
        """In the decision all of a plan is looked at again. Most of it is new, and still is: what
        comes in the way meanwhile has to be seen all the same."""
        keys = [("new", "1.0.0"), ("jason", "1.0.0"), ("nowhere", "1.0.0")]
        rows: list[tuple[int, Record, Action | None]] = [
            (n, dict(zip(RELEASES.key, key, strict=True)), "create")
            for n, key in enumerate(keys, 1)
        ]
        rows.append((4, rows[0][1] | {"version": "2.0.0"}, None))
        with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
            restoration.stage(USERS, [])
            restoration.stage(PACKAGES, [(1, self.record(PACKAGES, "new"), "create")])
            restoration.stage(RELEASES, rows)
            assert list(restoration.compare(PACKAGES, skip_new=True)) == []
            found = list(restoration.compare(RELEASES, skip_new=True))
            # It is there by now, and was to be created.
            assert list(restoration.compare(RELEASES, skip_new=True, skip_same=True)) == found
        assert [(each.n, each.state) for each in found] == [
            (2, "unchanged"),
            (3, "blocked"),
            (4, "create"),
        ]

    @pytest.mark.parametrize("variant", [0, 1])
    @pytest.mark.parametrize("protected", [False, True])
    def test_nothing_is_skipped_but_what_is_unchanged(
        self, registry: Registry, variant: int, *, protected: bool
    ) -> None:
        """What others write, remove or hide meanwhile has to be seen, and who holds a right."""
        eve = self.record(USERS, "eve") | {**self.right}
        self.write(registry, {USERS: [eve]}, protected=True)
        records = self.usual(variant=variant)
        records[USERS] += [eve, self.record(USERS, "new")]
        records[PACKAGES] += [self.record(PACKAGES, "new")]
        records[RELEASES] += [self.record(RELEASES, "nowhere", "1.0.0")]
        with self.staged(registry, records, protected=protected, actor="bob") as restoration:
            for kind, all_of_them in compared(restoration).items():
                found = list(restoration.compare(kind, skip_same=True))
                assert set(map(_told, found)) >= {
                    _told(each)
                    for each in all_of_them
                    if each.state != "unchanged" or each.own or each.privileged
                }
                assert set(map(_told, found)) <= set(map(_told, all_of_them))

    def test_without_blocking_nothing_is_held_against_other_records(
        self, registry: Registry
    ) -> None:
        """After a decision each file is put into place where its release is as it was decided,
        whose package is not staged beside it; there may be two files of one release."""
        keys = [("jason", "1.0.0"), ("jason", "1.0.0"), ("nowhere", "1.0.0")]
        with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
            rows = [
                (n, dict(zip(RELEASES.key, key, strict=True)), None) for n, key in enumerate(keys)
            ]
            restoration.stage(RELEASES, rows)
            found = list(restoration.compare(RELEASES, blocking=False))
        assert [(each.n, each.state) for each in found] == [
            (0, "unchanged"),
            (1, "unchanged"),
            (2, "create"),
        ]

    def test_the_account_of_who_restores_is_known(self, registry: Registry) -> None:
        """It differs, and is left as it is."""
        users = self.usual(variant=1)[USERS]
        found = self.compare(registry, {USERS: users}, actor="bob")[USERS]
        assert [(each.state, each.own) for each in found] == [
            ("conflict", False),
            ("conflict", True),
        ]

    def test_staging_changes_nothing_that_others_see_and_keeps_nobody_waiting(
        self, registry: Registry
    ) -> None:
        """A large archive takes minutes to be staged and compared."""
        before = self.read(registry)
        with self.beside() as begin, self.staged(registry, self.usual(variant=1)) as restoration:
            comparing = restoration.compare(USERS)
            next(comparing)
            assert self.read(registry) == before
            written = begin(lambda: self.store(registry, PACKAGES, self.record(PACKAGES, "late")))
            assert written.result() is None
            list(comparing)
            with self.staged(registry, {PACKAGES: [self.record(PACKAGES, "late")]}) as other:
                assert [each.state for each in other.compare(PACKAGES)] == ["unchanged"]
            assert [each.state for each in restoration.compare(PACKAGES)] == ["conflict"]
        assert self.keys(registry)[PACKAGES] == [("jason",), ("late",)]

    def test_nothing_that_was_staged_is_left(self, registry: Registry) -> None:
        """The same connection comes back from the host's pool."""
        before = self.read(registry)
        for _ in range(3):
            with (
                pytest.raises(ZeroDivisionError),
                self.staged(registry, self.usual(variant=1), "overwrite"),
            ):
                raise ZeroDivisionError
        assert self.read(registry) == before
        found = self.compare(registry, {})
        assert [each for kind in KINDS for each in found[kind]] == []


def _told(each: Comparison) -> tuple[object, ...]:
    return each.n, each.key, each.state, each.differs, each.own, each.privileged
