"""A registry that an archive was restored into, held against that archive: record by record, as a
backup of it would have them, and file by file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    USERS,
    FileEntry,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.source import HashedFile
from hexhub_backup.archive.times import microseconds
from hexhub_backup.errors import ArchiveError
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.differences import not_archived
from hexhub_backup.operations.joining import Following, joined, merged
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.planned import PlannedFile
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.release_check import ReleaseChecks
from hexhub_backup.registry.base import Registry, Snapshot
from hexhub_backup.storage.base import Storage
from hexhub_backup.storage.many import open_if_there


@dataclass(frozen=True, kw_only=True)
class AsArchived:
    """`plan` is what was restored of what `reader` reads. `checks` look at each package file that
    came back, to its end."""

    reader: ArchiveReader
    plan: Plan
    registry: Registry
    storage: Storage
    progress: Progress
    checks: ReleaseChecks | None

    def expected(self) -> tuple[int, int]:
        """The bytes and the items of this work."""
        return sum(map(self.plan.file_bytes, FILE_TYPES)), sum(map(self.reader.count, KINDS))

    def records(self) -> Iterator[Notice]:
        """What became of records that are not as they were archived. What the plan has blocked is
        told by the restore."""
        with self.registry.snapshot() as snapshot:
            for kind in KINDS:
                yield from self._records(kind, snapshot)

    def files(self) -> Iterator[Notice]:
        """The files that were placed and have another content, or are not there."""
        for file_type in FILE_TYPES:
            looked_into = file_type == "package" and self.checks is not None
            releases = Following(self.reader.records(RELEASES) if looked_into else ())
            placed = ((each.n, each) for each in self.plan.files(file_type, "place"))
            for planned, entry in joined(placed, self.reader.files(file_type), _not_archived):
                file = planned.file
                found = self._look(file, entry, releases.at(planned.n))
                self.progress.advance()
                if found is not None:
                    yield notice("not_as_archived", file.label, found, file_type=file.type)

    def _records(self, kind: Kind, snapshot: Snapshot) -> Iterator[Notice]:
        known = self.registry.fields(kind)
        archived = ((_sorted_by(kind, each), (n, each)) for n, each in self.reader.records(kind))
        stored = (
            (_sorted_by(kind, each), each)
            for batch in snapshot.batches(kind)
            for each in batch.records()
        )
        for key, archived_as, now in merged(archived, stored):
            label = kind.label(tuple(key.split("\0")))
            if archived_as is None:
                yield notice("not_as_archived", label, "extra")
                continue
            self.progress.advance(items=1)
            n, record = archived_as
            if now is None:
                if self.plan.state_of(kind, n) == "create":
                    yield notice("not_as_archived", label, "lost")
                continue
            fields = [
                name
                for name in record
                if name in known and not _is_same(kind, name, record[name], now[name])
            ]
            if fields:
                yield notice("not_as_archived", label, "fields", fields=", ".join(fields))

    def _look(self, file: ReleaseFile, entry: FileEntry, release: Record | None) -> str | None:
        """The sentence about a file that is not as it was archived; None where it is. A package
        file that is looked into comes with the record of its release."""
        source = open_if_there(self.storage, file)
        if source is None:
            return "file_lost"
        with source:
            read = HashedFile(source, self.progress.advance)
            if self.checks is not None and release is not None:
                self.checks.look(release, read)
            return None if read.rest() == entry.sha256 else "file_differs"


def _sorted_by(kind: Kind, record: Record) -> str:
    """A key as texts, which sort by code points, have the order of its UTF-8 bytes."""
    return "\0".join(kind.key_of(record))


def _is_same(kind: Kind, name: str, archived: Any, now: Any) -> bool:
    """Whether a value is what was archived, or what a restore is to make of it: no archive holds a
    TOTP secret, so that every second factor is off."""
    if archived == now:
        return True
    if kind is USERS and name == "totp_enabled":
        return archived is True and now is False
    # One time may be written in several ways, in fields of the host's own too.
    with suppress(ValueError, TypeError):
        return microseconds(archived) == microseconds(now)
    return False


def _not_archived(planned: PlannedFile) -> ArchiveError:
    return not_archived(planned.file.member)
