"""A registry as it is read: records in batches, in byte order, as of one moment."""

from __future__ import annotations

from hexhub_backup.archive.records import KINDS, OWNERS, PACKAGES, RELEASES, USERS
from hexhub_backup.registry.base import Registry
from hexhub_backup.testing.registries.host import NewRegistry, RegistryHost, rows_of

#: In another order than that of their bytes, by most rules. No two are equal by any.
_NAMES = ("b", "a-b", "a", "C", "\u00e9", "z", "\N{MUSICAL SYMBOL G CLEF}", "\uffee")
_VERSIONS = ("2.0.0", "10.0.0", "1.0.0", "1.0.0-rc.1", "1.0.0+build")


class ReadingConformance(RegistryHost):
    """What a backup relies on."""

    def test_a_registry_without_records_is_read(self, new_registry: NewRegistry) -> None:
        """An empty registry makes a valid, empty archive."""
        registry = new_registry()
        registry.check()
        with registry.snapshot() as snapshot:
            for kind in KINDS:
                assert snapshot.count(kind) == 0
                assert list(snapshot.batches(kind)) == []
                assert list(snapshot.keys(kind)) == []

    def test_what_was_written_is_read_back(self, registry: Registry) -> None:
        """Whatever a restore writes, the next backup reads."""
        self.assert_holds(registry, self.usual())

    def test_a_record_has_the_fields_of_its_kind(self, registry: Registry) -> None:
        """A plan says of the others that there is no column for them."""
        for kind, records in self.read(registry).items():
            fields = registry.fields(kind)
            assert fields >= {*kind.key}
            assert all(each.keys() == fields for each in records)

    def test_the_fields_that_are_compared_are_some_of_those(self, registry: Registry) -> None:
        """The contents of a backup list them, and find each record by its key."""
        for kind in KINDS:
            assert {*kind.key} <= registry.compared(kind) <= registry.fields(kind)

    def test_what_the_host_writes_is_read(self, registry: Registry) -> None:
        """And so is what it deletes: `store` and `delete` of this suite mean the same database."""
        records = self.usual()
        records[PACKAGES] += [self.record(PACKAGES, "ecto")]
        self.store(registry, PACKAGES, records[PACKAGES][1])
        self.assert_holds(registry, records)
        self.delete(registry, OWNERS, records[OWNERS].pop())
        self.assert_holds(registry, records)

    def test_records_come_in_byte_order_of_their_keys(self, new_registry: NewRegistry) -> None:
        """Two backups of one registry have the same bytes, and rows are compared by merging."""
        registry = new_registry()
        releases = [(name, version) for name in _NAMES[:3] for version in _VERSIONS]
        self.write(
            registry,
            {
                PACKAGES: [self.record(PACKAGES, name) for name in _NAMES],
                RELEASES: [self.record(RELEASES, *key) for key in releases],
            },
        )
        found = self.keys(registry)
        assert found[PACKAGES] == sorted(
            ((name,) for name in _NAMES), key=lambda key: key[0].encode()
        )
        assert found[RELEASES] == sorted(
            releases, key=lambda key: (key[0].encode(), key[1].encode())
        )

    def test_counts_and_keys_are_those_of_the_records(self, registry: Registry) -> None:
        """The estimate of a backup, and the look for its files, read no rows."""
        with registry.snapshot() as snapshot:
            for kind in KINDS:
                keys = [kind.key_of(record) for record in rows_of(snapshot, kind)]
                assert snapshot.count(kind) == len(keys)
                assert list(snapshot.keys(kind)) == keys
                assert {*snapshot.keys(kind, hidden=True)} >= {*keys}

    def test_many_records_come_in_several_batches(self, new_registry: NewRegistry) -> None:
        """Memory does not grow with a registry."""
        registry = new_registry()
        names = [f"package{n:05}" for n in range(2500)]
        self.write(registry, {PACKAGES: [self.record(PACKAGES, name) for name in names]})
        with registry.snapshot() as snapshot:
            batches = list(snapshot.batches(PACKAGES))
        assert len(batches) > 1
        for batch in batches:
            assert list(batch.columns) == sorted(registry.fields(PACKAGES))
            assert {len(values) for values in batch.columns.values()} == {len(batch)}
        assert [name for batch in batches for name in batch.columns["name"]] == names

    def test_a_snapshot_that_is_read_half_is_given_back(self, registry: Registry) -> None:
        """A backup that fails, or is cancelled, stops in the middle."""
        for _ in range(20):
            with registry.snapshot() as snapshot:
                next(snapshot.batches(USERS))
        self.write(registry, {PACKAGES: [self.record(PACKAGES, "ecto")]})

    def test_a_snapshot_sees_one_moment(self, registry: Registry) -> None:
        """Kinds are read one after the other, and agree. The host may be kept waiting meanwhile,
        where its database knows no better."""
        late = self.record(PACKAGES, "late")
        with self.beside() as begin:
            with registry.snapshot() as snapshot:
                users = rows_of(snapshot, USERS)
                written = begin(lambda: self.store(registry, PACKAGES, late))
                assert list(snapshot.keys(PACKAGES)) == [("jason",)]
                assert snapshot.count(PACKAGES) == 1
                assert rows_of(snapshot, USERS) == users
            was_refused = written.exception() is not None
        assert (("late",) in self.keys(registry)[PACKAGES]) != was_refused

    def test_the_host_knows_who_a_user_is(self, registry: Registry) -> None:
        """Whoever is logged in and is no user of the registry has no name in it."""
        assert registry.username_of(object()) is None

    def test_letting_go_twice_is_as_once(self, registry: Registry) -> None:
        """It is asked after each question to the host."""
        for _ in range(2):
            registry.let_go()
        self.assert_holds(registry, self.usual())
