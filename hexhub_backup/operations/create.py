"""Create: the registry and its files into one archive, checked before it counts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.jsonrows import StrictJSONError, encoded_size
from hexhub_backup.archive.recheck import recheck
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileType,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.writer import ArchiveWriter, SourceChangedError
from hexhub_backup.durable import naming_full_disk, sync_directory
from hexhub_backup.errors import SpaceError, StorageError
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Registry, Snapshot
from hexhub_backup.storage.base import Storage

STEPS = (
    "check_space",
    "export_users",
    "export_packages",
    "export_releases",
    "export_owners",
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
_WHAT: dict[FileType, tuple[str, str]] = {
    "package": ("missing_package_file", "its package file is not in the storage"),
    "docs": ("missing_docs_file", "it says it has docs, but there is no docs file in the storage"),
}


def create(
    *,
    registry: Registry,
    storage: Storage,
    partial: Path,
    archive: Path,
    work: Path,
    created_by: str,
    generator: str,
    host_version: str,
    progress: Progress,
) -> dict[str, Any]:
    """Write an archive to `partial`, check it, and rename it to `archive`. `work` names a folder
    beside them for what it needs for itself.

    Gives the outcome: `manifest` and `size_bytes`. Whatever goes wrong, neither file is left.
    Raises BackupError, OSError.
    """
    with naming_full_disk(partial.parent), ExitStack() as on_failure:
        on_failure.callback(partial.unlink, missing_ok=True)
        on_failure.callback(archive.unlink, missing_ok=True)
        with ExitStack() as opened:
            with registry.snapshot() as snapshot:
                with progress.step("check_space"):
                    has_docs_file = check_space(snapshot, storage, partial.parent, progress)
                file = opened.enter_context(_new_file(partial))
                sums = opened.enter_context(tempfile.TemporaryFile(dir=work))
                releases = opened.enter_context(_notes(work))
                writer = ArchiveWriter(file, sums)
                for kind in KINDS:
                    with progress.step(f"export_{kind.name}"):
                        batches = _counted(snapshot, kind, progress)
                        if kind is RELEASES:
                            batches = _noted(batches, has_docs_file, releases)
                        writer.write_records(kind, batches)
            missing: list[str] = []
            for file_type in FILE_TYPES:
                with progress.step(_COPY_STEP[file_type]):
                    missing += _copy_all(writer, storage, file_type, releases, progress)
            with progress.step("write_manifest"):
                manifest = writer.finish(
                    created_by=created_by,
                    generator=generator,
                    hex_hub_version=host_version,
                    missing_files=missing,
                )
            with (
                progress.step("verify"),
                ThreadPoolExecutor(1) as beside,
                partial.open("rb", buffering=0) as written,
            ):
                # One waits for the disk, the other for the processor.
                synced = _start_sync(beside, file.fileno())
                recheck(written, sums, manifest, progress.advance)
            with progress.step("publish"):
                size = file.seek(0, os.SEEK_END)
                synced.result()
                partial.rename(archive)
                sync_directory(archive.parent)
                progress.decided()
                on_failure.pop_all()
    return {"manifest": manifest.as_json(), "size_bytes": size}


def _new_file(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "w+b")


def _notes(folder: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", newline="\n")


def _start_sync(beside: Executor, descriptor: int) -> Future[None]:
    try:
        return beside.submit(os.fsync, descriptor)
    except RuntimeError:
        # The interpreter is about to end, and takes no new thread.
        os.fsync(descriptor)
        done: Future[None] = Future()
        done.set_result(None)
        return done


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
        sample = [_size(record) for record in islice(_records(snapshot, kind), _SAMPLE)]
        if sample:
            record_bytes += sum(sample) * records[kind.name] // len(sample) + 1
    files = {"package": 0, "docs": 0}
    file_bytes = {"package": 0, "docs": 0}
    has_docs_file = bytearray()
    size_of = storage.size
    for package, version in snapshot.keys(RELEASES):
        size = None
        # What can't be backed up is refused by name when it comes to be written.
        with suppress(StorageError):
            for file_type in FILE_TYPES:
                size = size_of(ReleaseFile(file_type, package, version))
                if size is not None:
                    files[file_type] += 1
                    file_bytes[file_type] += size
        has_docs_file.append(size is not None)
    found = {
        "records": records,
        "record_bytes": record_bytes,
        "files": files,
        "file_bytes": file_bytes,
        "size_bytes": record_bytes
        + sum(file_bytes.values())
        + sum(files.values()) * _FILE_OVERHEAD
        + 10 * 1024,
    }
    return found, has_docs_file


def _size(record: Record) -> int:
    try:
        return encoded_size(record)
    except StrictJSONError:
        return 0


def check_space(
    snapshot: Snapshot, storage: Storage, directory: Path, progress: Progress
) -> bytearray:
    """Refuse a backup for which there is no room. Gives for each release in order whether it
    has a docs file."""
    found, has_docs_file = _estimate(snapshot, storage)
    stats = os.statvfs(directory)
    free = stats.f_bavail * stats.f_frsize
    needed = found["size_bytes"]
    if needed > free:
        raise SpaceError(
            f"The backup needs about {needed:,} bytes in {directory}, and there are {free:,}: make "
            "room there, or let HEXHUB_BACKUP_PATH name a larger place. Nothing was written."
        )
    records, file_bytes = found["records"], found["file_bytes"]
    progress.expect(
        {
            **{f"export_{kind.name}": (0, records[kind.name]) for kind in KINDS},
            "copy_packages": (file_bytes["package"], 0),
            "copy_docs": (file_bytes["docs"], 0),
            "verify": (found["size_bytes"], 0),
        }
    )
    return has_docs_file


def _records(snapshot: Snapshot, kind: Kind) -> Iterator[Record]:
    for batch in snapshot.batches(kind):
        yield from batch.records()


def _counted(snapshot: Snapshot, kind: Kind, progress: Progress) -> Iterator[Batch]:
    for batch in snapshot.batches(kind):
        yield batch
        progress.advance(items=len(batch))


def _noted(batches: Iterable[Batch], has_docs_file: bytearray, notes: IO[str]) -> Iterator[Batch]:
    """The releases, of which `notes` gets what their files are found by: the files are copied
    when the registry's snapshot is closed, and not all releases fit in memory."""
    found = iter(has_docs_file)
    for batch in batches:
        yield batch
        # The writer took it, so that neither name nor version holds a control character.
        packages, versions = (batch.columns[name] for name in RELEASES.key)
        said = batch.columns.get("has_docs", (False,) * len(batch))
        there = islice(found, len(batch))
        for package, version, says, is_there in zip(packages, versions, said, there, strict=True):
            docs = _SAID if says else _THERE if is_there else ""
            notes.write(f"{package}\t{version}\t{docs}\n")


def _copy_all(
    writer: ArchiveWriter, storage: Storage, file_type: FileType, notes: IO[str], progress: Progress
) -> Iterator[str]:
    """Put the files of one type in the archive; gives the members that are missing."""
    notes.seek(0)
    for line in notes:
        package, version, docs = line[:-1].split("\t")
        # A release without docs is not looked at again: it would have said so by now.
        if file_type == "docs" and not docs:
            continue
        file = ReleaseFile(file_type, package, version)
        if not _copy(writer, storage, file, progress) and (file_type == "package" or docs == _SAID):
            progress.warn(*_WHAT[file_type], RELEASES.label((package, version)))
            yield file.member


def _copy(writer: ArchiveWriter, storage: Storage, file: ReleaseFile, progress: Progress) -> bool:
    """Put one file in the archive; gives whether it is there. Raises StorageError for one that
    never stops changing."""
    for _ in range(_TRIES):
        try:
            with storage.open(file) as source:
                writer.write_file(file, source, source.size, progress.advance, source.changed)
        except FileNotFoundError:
            return False
        except SourceChangedError:
            continue
        return True
    raise StorageError(
        f"The {file.type} file of {file.package} {file.version} was written to while it was read, "
        f"{_TRIES} times: create the backup again when the host is done with it."
    )
