"""Compare with now: list the registry as it is, to be held against the contents of a backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hexhub_backup.archive.records import FILE_TYPES, KINDS, RELEASES, FileEntry, ReleaseFile
from hexhub_backup.archive.source import HashedFile
from hexhub_backup.operations.contents import split_key
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.listing import ContentsWriter, fields_of
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import OpenFile, Storage
from hexhub_backup.storage.many import in_order, open_if_there

STEPS = ("list_records", "read_files")


def list_registry(
    *, registry: Registry, storage: Storage, work: Path, contents: KeptFile, progress: Progress
) -> dict[str, Any]:
    """List the records of the registry and its files, each of which is read for its SHA-256; the
    list is kept as the `contents` of a backup would be. `work` names a folder for what it needs.

    The outcome is empty. Changes nothing. Raises BackupError, OSError.
    """
    with closing(ContentsWriter(work / "contents.sqlite", fields_of(registry))) as listing:
        with registry.snapshot() as snapshot, progress.step("list_records"):
            counts = {kind: snapshot.count(kind) for kind in KINDS}
            files = counts[RELEASES] * len(FILE_TYPES)
            progress.expect({"list_records": (0, sum(counts.values())), "read_files": (0, files)})
            for kind in KINDS:
                for batch in snapshot.batches(kind):
                    listing.add(kind, batch)
                    progress.advance(items=len(batch))
        with progress.step("read_files"):
            for file, source in in_order(
                lambda file: (file, open_if_there(storage, file)), _files(listing), storage.at_once
            ):
                if source is not None:
                    with source:
                        listing.add_file(file, _read(file, source, progress))
                progress.advance(items=1)
        listing.complete({}, {})
        listing.keep(contents)
    return {}


def _files(listing: ContentsWriter) -> Iterator[ReleaseFile]:
    for key, _ in listing.states(RELEASES):
        package, version = split_key(key)
        for file_type in FILE_TYPES:
            yield ReleaseFile(file_type, package, version)


def _read(file: ReleaseFile, source: OpenFile, progress: Progress) -> FileEntry:
    read = HashedFile(source, lambda _: progress.check())
    sha256 = read.rest()
    return FileEntry(file.member, 0, read.size, sha256)
