"""Create: the registry and its files into one archive, checked before it counts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileType,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.rules.strict_json import StrictJSONError, encoded_size
from hexhub_backup.archive.writing.new_archive import NewArchive
from hexhub_backup.archive.writing.recheck import recheck
from hexhub_backup.archive.writing.writer import ArchiveWriter, SourceChangedError
from hexhub_backup.durable import naming_full_disk
from hexhub_backup.errors import SpaceError, StorageError
from hexhub_backup.notices import notice
from hexhub_backup.operations.contents import Earlier
from hexhub_backup.operations.differing import compare_with
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.listing import ContentsWriter, fields_of
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.release_check import ReleaseCheck, ReleaseChecks, WrittenReleases
from hexhub_backup.registry.base import Registry, Snapshot
from hexhub_backup.storage.base import OpenFile, Storage
from hexhub_backup.storage.many import in_order, open_if_there

STEPS = (
    "check_space",
    *(f"export_{kind.name}" for kind in KINDS),
    "copy_packages",
    "copy_docs",
    "write_manifest",
    "verify",
    "publish",
)

_SAMPLE = 100
# What the tar adds to a file: a header, its padding, its line in SHA256SUMS.
_FILE_OVERHEAD = 1280
# How it is known that a release may have docs: its row says so, or they were found.
_SAID, _THERE = "said", "there"
_TRIES = 3
_COPY_STEP: dict[FileType, str] = {"package": "copy_packages", "docs": "copy_docs"}
_MISSING: dict[FileType, str] = {"package": "missing_package_file", "docs": "missing_docs_file"}


class Room(Protocol):
    """Where archives are kept."""

    #: For people.
    location: str

    def free(self) -> int | None:
        """Bytes that can still be written; None where nothing limits them."""


def create(
    *,
    registry: Registry,
    storage: Storage,
    new_archive: Callable[[int], NewArchive],
    contents: KeptFile,
    earlier: Callable[[], Earlier | None],
    room: Room,
    work: Path,
    created_by: str,
    generator: str,
    host_version: str,
    check_release: ReleaseCheck | None,
    progress: Progress,
) -> dict[str, Any]:
    """Write an archive, check it, and publish it. `new_archive` gives what it is written to, when
    it is told about how many bytes these will be; `contents` keeps the list of what is in it, which
    is compared with that of an `earlier` backup. `work` names a folder for what it needs for
    itself. `check_release` looks at the package files while the archive is read back.

    Returns the outcome: `manifest`, `size_bytes`, `sha256` of the archive, and `since` and
    `changed_files` of `compare_with`. Whatever goes wrong, nothing is left of it. Raises
    BackupError, OSError.
    """
    with naming_full_disk(work.parent), ExitStack() as on_failure, ExitStack() as opened:
        with registry.snapshot() as snapshot:
            with progress.step("check_space"):
                about, has_docs_file = check_space(snapshot, storage, room, progress)
            new = new_archive(about)
            on_failure.callback(new.discard)
            opened.callback(new.close)
            sums = opened.enter_context(tempfile.TemporaryFile(dir=work))
            releases = opened.enter_context(_notes(work))
            listing = ContentsWriter(work / "contents.sqlite", fields_of(registry))
            opened.enter_context(closing(listing))
            beside = opened.enter_context(ThreadPoolExecutor(1))
            writer = ArchiveWriter(new.file, sums, new.mark, beside)
            for kind in KINDS:
                with progress.step(f"export_{kind.name}"):
                    batches = _listed(_counted(snapshot, kind, progress), kind, listing)
                    if kind is RELEASES:
                        batches = _noted(batches, has_docs_file, releases)
                    writer.write_records(kind, batches)
        missing: list[str] = []
        copying = _Copying(writer, listing, storage, releases, progress)
        for file_type in FILE_TYPES:
            with progress.step(_COPY_STEP[file_type]):
                missing += copying.copy_all(file_type)
        with progress.step("write_manifest"):
            compared = compare_with(earlier(), listing, progress)
            manifest = writer.finish(
                created_by=created_by,
                generator=generator,
                hex_hub_version=host_version,
                missing_files=missing,
            )
            listing.complete(manifest.checksums, compared)
        with progress.step("verify"), new.complete() as written:
            looking = None
            if check_release is not None:
                checks = ReleaseChecks(check_release, listing.has_package, progress.warn)
                rows = opened.enter_context(tempfile.TemporaryFile(dir=work))
                looking = WrittenReleases(rows, checks)
            recheck(written, sums, manifest, progress.advance, looking)
            size = written.size
        with progress.step("publish"):
            # Before the archive, which is there only with it.
            on_failure.callback(contents.remove)
            listing.keep(contents)
            new.publish()
            progress.decided()
            on_failure.pop_all()
    return {"manifest": manifest.as_json(), "size_bytes": size, "sha256": writer.sha256, **compared}


def _notes(folder: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", newline="\n")


def estimate(registry: Registry, storage: Storage) -> dict[str, Any]:
    """What a backup would hold now: `records` per kind, `record_bytes`, `files` and
    `file_bytes` per file type, and `size_bytes` of the archive, roughly.

    The files are looked up one by one; the size of the rows is taken from the first of each
    kind.
    """
    with registry.snapshot() as snapshot:
        return _estimate(snapshot, storage)[0]


def _estimate(snapshot: Snapshot, storage: Storage) -> tuple[dict[str, Any], bytearray]:
    """The estimate, and for each release in order whether it has a docs file."""
    records: dict[str, int] = {}
    record_bytes = 0
    for kind in KINDS:
        records[kind.name] = snapshot.count(kind)
        sample = [_size_of(record) for record in islice(_records(snapshot, kind), _SAMPLE)]
        if sample:
            record_bytes += sum(sample) * records[kind.name] // len(sample) + 1
    files = {"package": 0, "docs": 0}
    file_bytes = {"package": 0, "docs": 0}
    has_docs_file = bytearray()
    # What can't be backed up has no size, and is refused by name when it comes to be written.
    sizes = storage.sizes(
        ReleaseFile(file_type, package, version)
        for package, version in snapshot.keys(RELEASES)
        for file_type in FILE_TYPES
    )
    for of_release in zip(*[sizes] * len(FILE_TYPES), strict=True):
        for file_type, size in zip(FILE_TYPES, of_release, strict=True):
            if size is not None:
                files[file_type] += 1
                file_bytes[file_type] += size
        has_docs_file.append(of_release[-1] is not None)
    estimated = {
        "records": records,
        "record_bytes": record_bytes,
        "files": files,
        "file_bytes": file_bytes,
        "size_bytes": record_bytes
        + sum(file_bytes.values())
        + sum(files.values()) * _FILE_OVERHEAD
        + 10 * 1024,
    }
    return estimated, has_docs_file


def _size_of(record: Record) -> int:
    try:
        return encoded_size(record)
    except StrictJSONError:
        return 0


def check_space(
    snapshot: Snapshot, storage: Storage, room: Room, progress: Progress
) -> tuple[int, bytearray]:
    """Refuse a backup for which there is no room. Returns about how many bytes it will have, and
    for each release in order whether it has a docs file."""
    estimated, has_docs_file = _estimate(snapshot, storage)
    free = room.free()
    needed: int = estimated["size_bytes"]
    if free is not None and needed > free:
        raise SpaceError(
            f"The backup needs about {needed:,} bytes in {room.location}, and there are {free:,}: "
            "make room there, or let HEXHUB_BACKUP_PATH name a larger place. Nothing was written."
        )
    records, file_bytes = estimated["records"], estimated["file_bytes"]
    progress.expect(
        {
            **{f"export_{kind.name}": (0, records[kind.name]) for kind in KINDS},
            "copy_packages": (file_bytes["package"], 0),
            "copy_docs": (file_bytes["docs"], 0),
            "verify": (estimated["size_bytes"], 0),
        }
    )
    return needed, has_docs_file


def _records(snapshot: Snapshot, kind: Kind) -> Iterator[Record]:
    for batch in snapshot.batches(kind):
        yield from batch.records()


def _counted(snapshot: Snapshot, kind: Kind, progress: Progress) -> Iterator[Batch]:
    for batch in snapshot.batches(kind):
        yield batch
        progress.advance(items=len(batch))


def _listed(batches: Iterable[Batch], kind: Kind, listing: ContentsWriter) -> Iterator[Batch]:
    """The records, listed when the writer has taken them."""
    for batch in batches:
        yield batch
        listing.add(kind, batch)


def _noted(batches: Iterable[Batch], has_docs_file: bytearray, notes: IO[str]) -> Iterator[Batch]:
    """The releases. `notes` gets the key of each, by which its files are found: they are copied
    when the registry's snapshot is closed, and not all releases fit in memory."""
    docs_files = iter(has_docs_file)
    for batch in batches:
        yield batch
        # The writer took it, so that neither name nor version holds a control character.
        packages, versions = (batch.columns[name] for name in RELEASES.key)
        said = batch.columns.get("has_docs", (False,) * len(batch))
        there = islice(docs_files, len(batch))
        for package, version, says, is_there in zip(packages, versions, said, there, strict=True):
            docs = _SAID if says else _THERE if is_there else ""
            notes.write(f"{package}\t{version}\t{docs}\n")


def _noted_files(file_type: FileType, notes: IO[str]) -> Iterator[tuple[ReleaseFile, bool]]:
    """The files of one type that there may be, each with whether its release says so."""
    notes.seek(0)
    for line in notes:
        package, version, docs = line[:-1].split("\t")
        # A release without docs is not looked at again: it would have said so by now.
        if file_type == "package" or docs:
            yield ReleaseFile(file_type, package, version), file_type == "package" or docs == _SAID


@dataclass(frozen=True)
class _Copying:
    """Puts the files of releases in the archive, and in the list of its contents."""

    writer: ArchiveWriter
    listing: ContentsWriter
    storage: Storage
    #: The releases, as `_noted` has them.
    notes: IO[str]
    progress: Progress

    def copy_all(self, file_type: FileType) -> Iterator[str]:
        """The files of one type. Yields the members that are missing."""

        def opened(noted: tuple[ReleaseFile, bool]) -> tuple[ReleaseFile, bool, OpenFile | None]:
            return (*noted, open_if_there(self.storage, noted[0]))

        noted = _noted_files(file_type, self.notes)
        for file, said, source in in_order(opened, noted, self.storage.at_once):
            if not self._copy(file, source) and said:
                self.progress.warn(notice(_MISSING[file_type], file.label, "in_storage"))
                yield file.member

    def _copy(self, file: ReleaseFile, source: OpenFile | None) -> bool:
        """Put one file in the archive, which is opened already. Returns whether it is there. Raises
        StorageError for one that never stops changing."""
        advance = self.progress.advance
        for attempt in range(_TRIES):
            if attempt:
                source = open_if_there(self.storage, file)
            if source is None:
                return False
            try:
                with source:
                    entry = self.writer.write_file(
                        file, source, source.size, advance, source.changed
                    )
            except SourceChangedError:
                continue
            self.listing.add_file(file, entry)
            return True
        raise StorageError(
            f"The {file.type} file of {file.package} {file.version} was written to while it was "
            f"read, {_TRIES} times: create the backup again when the host is done with it."
        )
