"""Inspect: check an archive, and plan what a restore of it would do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader, FileEntry
from hexhub_backup.archive.records import FILE_TYPES, KINDS, RELEASES, Kind, ReleaseFile
from hexhub_backup.operations import verify
from hexhub_backup.operations.plan import (
    FileAction,
    Plan,
    PlannedFile,
    PlannedRecord,
    Strategy,
)
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Action, Comparison, Registry
from hexhub_backup.storage.base import Storage

STEPS = (*verify.STEPS, "compare")

_CHUNK = 1 << 20


def inspect(
    *,
    archive: Path,
    folder: Path,
    registry: Registry,
    storage: Storage,
    strategy: Strategy,
    protected: bool,
    actor: str,
    progress: Progress,
) -> dict[str, Any]:
    """Check the archive and write its index and the plan to `folder`, for `restore`.

    The outcome is `manifest`, `size_bytes`, `digest`, and `plan`: per kind how many records are
    in each state. Changes nothing. Raises ArchiveError with every fault, DatabaseError, OSError.
    """
    folder.mkdir(mode=0o700)
    with ArchiveReader(archive, folder / "index.sqlite") as reader:
        # About what comparing costs, so that the end is not told before it is there.
        progress.expect({"compare": (reader.size, 0)})
        verify.check(reader, progress)
        plan = Plan(folder / "plan.sqlite")
        try:
            with progress.step("compare"):
                counts = _compare(
                    reader=reader,
                    plan=plan,
                    registry=registry,
                    storage=storage,
                    strategy=strategy,
                    protected=protected,
                    actor=actor,
                    progress=progress,
                )
                plan.save_about(
                    {
                        "archive": str(archive),
                        "digest": reader.digest,
                        "strategy": strategy,
                        "protected": protected,
                        "actor": actor,
                    }
                )
        finally:
            plan.close()
        return {
            "manifest": reader.manifest.as_json(),
            "size_bytes": reader.size,
            "digest": reader.digest,
            "plan": counts,
        }


def _compare(
    *,
    reader: ArchiveReader,
    plan: Plan,
    registry: Registry,
    storage: Storage,
    strategy: Strategy,
    protected: bool,
    actor: str,
    progress: Progress,
) -> dict[str, dict[Any, int]]:
    progress.expect({"compare": (reader.file_bytes(), sum(map(reader.count, KINDS)))})
    overwrite = strategy == "overwrite"
    with registry.restoration(protected=protected, actor=actor, overwrite=overwrite) as restoration:
        for kind in KINDS:
            restoration.stage(kind, ((n, record, None) for n, record in reader.records(kind)))
            compared = restoration.compare(kind)
            plan.add_records(
                kind,
                _releases(compared, reader, plan, storage, progress, overwrite=overwrite)
                if kind is RELEASES
                else _rows(kind, compared, progress, overwrite=overwrite),
            )
    return {kind.name: dict(plan.counts(kind)) for kind in KINDS}


def action(comparison: Comparison, state: str, *, overwrite: bool) -> Action | None:
    """What becomes of a row, by what it is and the strategy."""
    if state == "create":
        return "create"
    if state == "conflict" and overwrite and not comparison.own:
        return "overwrite"
    return None


def _rows(
    kind: Kind, compared: Iterator[Comparison], progress: Progress, *, overwrite: bool
) -> Iterator[PlannedRecord]:
    for comparison in compared:
        progress.advance(items=1)
        state = comparison.state
        yield PlannedRecord(state, comparison, action(comparison, state, overwrite=overwrite))


def _releases(
    compared: Iterator[Comparison],
    reader: ArchiveReader,
    plan: Plan,
    storage: Storage,
    progress: Progress,
    *,
    overwrite: bool,
) -> Iterator[PlannedRecord]:
    """Releases with their files: a file that differs makes a conflict of an unchanged row."""
    for comparison in compared:
        progress.advance(items=1)
        state = comparison.state
        files: list[PlannedFile] = []
        # What a strategy leaves hidden keeps its files, and what is blocked gets none.
        if state != "blocked" and (overwrite or not comparison.hidden):
            for file_type in FILE_TYPES:
                file = ReleaseFile(file_type, *comparison.key)
                entry = reader.file(file)
                if entry is None:
                    continue
                stored = storage.stat(file)
                differs = stored is not None and not _same(
                    entry, stored.size, file, storage, progress
                )
                if differs and state == "unchanged":
                    state = "conflict"
                does: FileAction | None = None
                if stored is None:
                    does = "place"
                elif differs and (overwrite or state == "create"):
                    does = "replace"
                tag = None if stored is None else stored.tag
                files.append(PlannedFile(file, comparison.n, does, tag, entry.size))
        plan.add_files(files)
        yield PlannedRecord(state, comparison, action(comparison, state, overwrite=overwrite))


def _same(
    entry: FileEntry, size: int, file: ReleaseFile, storage: Storage, progress: Progress
) -> bool:
    if size != entry.size:
        return False
    digest = hashlib.sha256()
    with storage.open(file) as stored:
        while chunk := stored.read(_CHUNK):
            digest.update(chunk)
            progress.advance(len(chunk))
    return digest.hexdigest() == entry.sha256
