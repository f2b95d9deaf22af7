"""What a host says of its registry, and the records that the tests are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from hexhub_backup.archive.records import KINDS, OWNERS, PACKAGES, RELEASES, USERS, Kind, Record
from hexhub_backup.registry.base import Action, Comparison, Registry, Restoration, Snapshot

#: Makes a registry on a database of its own, without records.
NewRegistry = Callable[[], Registry]
#: Records by their kind; the numbers that they are staged with count from 1.
Records = Mapping[Kind, Sequence[Record]]

TIME = "2026-01-31T10:30:00.000000Z"
#: How long a writer is waited for that may be kept waiting, in seconds.
_PATIENCE = 0.5


def record_of(kind: Kind, *key: str, variant: int = 0) -> Record:
    """A record with every field that HexHub writes."""
    fields: dict[str, dict[str, Any]] = {
        USERS.name: {
            "email": f"{key[0]}-{variant}@example.org",
            "password_hash": "$2b$12$" + "ab"[variant % 2] * 53,
            "totp_enabled": False,
            "service_account": False,
            "deactivated_at": None,
        },
        PACKAGES.name: {
            "repository_name": "hexpm",
            "meta": {"description": f"package {variant}"},
            "private": False,
            "downloads": variant,
            "html_url": f"https://example.org/{variant}",
            "docs_html_url": None,
            "source": "local",
        },
        RELEASES.name: {
            "has_docs": bool(variant % 2),
            "meta": {"app": f"app {variant}"},
            "requirements": {},
            "retired": None,
            "downloads": variant,
            "url": None,
            "package_url": None,
            "html_url": f"https://example.org/{variant}",
            "docs_html_url": None,
        },
        OWNERS.name: {"level": ("full", "maintainer")[variant % 2]},
    }
    times = {name: TIME for name, form in kind.fields.items() if form == "time"}
    return {**times, **fields[kind.name], **dict(zip(kind.key, key, strict=True))}


class RegistryHost:
    """Subclass it, and override `new_registry`, `store` and `delete`; `record` and `right` where
    your registry needs it."""

    #: The protected fields of a user by which an account holds a right, with such values, as
    #: `{"is_admin": True}`; empty where your registry protects none.
    right: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def new_registry(self) -> NewRegistry:
        """Makes a registry of yours, on a database of its own, in which there are no records."""
        raise NotImplementedError

    def store(self, registry: Registry, kind: Kind, record: Record) -> None:
        """Insert the row of a record, or update the one of its key, and commit: as your app does,
        on a connection of its own. It is called in other threads too, and may raise what your
        database raises where it is kept waiting for too long."""
        raise NotImplementedError

    def delete(self, registry: Registry, kind: Kind, record: Record) -> None:
        """Delete the row of a record, and commit: as your app does."""
        raise NotImplementedError

    def record(self, kind: Kind, *key: str, variant: int = 0) -> Record:
        """A record with this key. Two of different `variant` differ in a field that is compared.

        By default it has the fields that HexHub writes: add those of yours that have to be there.
        """
        return record_of(kind, *key, variant=variant)

    @pytest.fixture
    def registry(self, new_registry: NewRegistry) -> Registry:
        """A registry with ann and bob, and with a package of ann's that has a release."""
        registry = new_registry()
        self.write(registry, self.usual())
        return registry

    def usual(self, *, variant: int = 0) -> dict[Kind, list[Record]]:
        """The records of `registry`."""
        return {
            USERS: [self.record(USERS, name, variant=variant) for name in ("ann", "bob")],
            PACKAGES: [self.record(PACKAGES, "jason", variant=variant)],
            RELEASES: [self.record(RELEASES, "jason", "1.0.0", variant=variant)],
            OWNERS: [self.record(OWNERS, "jason", "ann", variant=variant)],
        }

    # what the tests do

    def read(self, registry: Registry) -> dict[Kind, list[Record]]:
        """All records, as a backup reads them."""
        with registry.snapshot() as snapshot:
            return {kind: rows_of(snapshot, kind) for kind in KINDS}

    def keys(self, registry: Registry) -> dict[Kind, list[tuple[str, ...]]]:
        return {
            kind: [kind.key_of(record) for record in records]
            for kind, records in self.read(registry).items()
        }

    def assert_holds(self, registry: Registry, records: Records) -> None:
        """The registry holds these records, and no others. What it has no column for is not
        compared, nor what the records do not have."""
        found = self.read(registry)
        for kind in KINDS:
            fields = registry.fields(kind)
            expected = [
                {name: value for name, value in each.items() if name in fields}
                for each in sorted(
                    records.get(kind, ()),
                    key=lambda each: [part.encode() for part in kind.key_of(each)],
                )
            ]
            names = [each.keys() for each in expected]
            assert len(found[kind]) == len(expected)
            assert [
                {name: each.get(name) for name in wanted}
                for each, wanted in zip(found[kind], names, strict=True)
            ] == expected

    @contextmanager
    def staged(
        self,
        registry: Registry,
        records: Records,
        action: Action | None = None,
        *,
        protected: bool = False,
        actor: str | None = None,
    ) -> Iterator[Restoration]:
        """A restoration of these records, each staged with the same action."""
        overwrite = action == "overwrite"
        with registry.restoration(
            protected=protected, actor=actor, overwrite=overwrite
        ) as restoration:
            for kind in KINDS:
                rows = enumerate(records.get(kind, ()), 1)
                restoration.stage(kind, [(n, record, action) for n, record in rows])
            yield restoration

    def write(
        self,
        registry: Registry,
        records: Records,
        action: Action = "create",
        *,
        protected: bool = False,
        actor: str | None = None,
    ) -> None:
        """Stage and write records, as a restore does."""
        with (
            self.staged(registry, records, action, protected=protected, actor=actor) as restoration,
            restoration.decision(),
        ):
            compared(restoration)
            restoration.write_all()

    def compare(
        self,
        registry: Registry,
        records: Records,
        *,
        protected: bool = False,
        actor: str | None = None,
        changes: bool = False,
    ) -> dict[Kind, list[Comparison]]:
        with self.staged(registry, records, protected=protected, actor=actor) as restoration:
            return compared(restoration, changes=changes)

    @contextmanager
    def beside(self) -> Iterator[Callable[[Callable[[], None]], Future[None]]]:
        """Gives what begins a function in another thread, and waits a moment for its end. The
        function is over when the block is: let it wait for nothing then."""
        with ThreadPoolExecutor(1) as pool:

            def begin(function: Callable[[], None]) -> Future[None]:
                future = pool.submit(function)
                wait([future], timeout=_PATIENCE)
                return future

            yield begin


def rows_of(snapshot: Snapshot, kind: Kind) -> list[Record]:
    return [record for batch in snapshot.batches(kind) for record in batch.records()]


def compared(restoration: Restoration, *, changes: bool = False) -> dict[Kind, list[Comparison]]:
    return {kind: list(restoration.compare(kind, changes=changes)) for kind in KINDS}
