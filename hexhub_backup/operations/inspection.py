"""Inspect: check an archive, and plan what a restore of it would do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    PACKAGES,
    RELEASES,
    FileEntry,
    FileType,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.source import HashedFile, OpenArchive
from hexhub_backup.errors import NotFoundError
from hexhub_backup.marking import marked
from hexhub_backup.operations import refused, verify
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.joining import Following
from hexhub_backup.operations.notes import archive_notices, file_notice, record_notices
from hexhub_backup.operations.places import Places
from hexhub_backup.operations.plan import Plan, PlanWriter
from hexhub_backup.operations.planned import (
    FileAction,
    PlannedFile,
    PlannedRecord,
    is_replaceable,
)
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.refused import Refused
from hexhub_backup.operations.rights import Foreseen
from hexhub_backup.registry.base import Action, Comparison, Registry
from hexhub_backup.storage.base import Storage, StoredFile, bare, sealed
from hexhub_backup.storage.many import in_order

STEPS = (*verify.STEPS, "compare")
#: Of an archive whose index is there already, for another choice.
STEPS_AGAIN = ("compare",)

# Releases that are in memory at a time, for each that is looked at: the listing of a bucket is
# asked for as many.
_BATCH = 20


def inspect(
    *,
    archive: str,
    open_archive: OpenArchive,
    folder: Path,
    registry: Registry,
    storage: Storage,
    choice: Choice,
    actor: str | None,
    progress: Progress,
    before: Path | None = None,
    without: Iterable[Path] = (),
) -> dict[str, Any]:
    """Check the archive of a name, and write its index and the plan to `folder`, for `restore`.

    With `before`, the folder of another plan of the same archive, the archive is not read again,
    and no stored file that is still the one that was compared. `without` are files of
    `refused.save`, of the operations that the choice names: their records are blocked.

    The outcome is `manifest`, `size_bytes`, `digest`, `plan`: per kind how many records are in
    each state, `effect`: per kind what would become of them, and `plan_hash`. Changes nothing.
    Raises ArchiveError with every fault, NotFoundError for a chosen package or release that the
    archive has not or a file that is none, ChangedError for one of another archive, DatabaseError,
    OSError.
    """
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        source, index = open_archive(archive), folder / "index.sqlite"
        if before is None:
            reader = stack.enter_context(ArchiveReader(source, index))
            # About what comparing costs, so that the percentage does not reach its end too early.
            progress.expect({"compare": (reader.size, 0)})
            verify.check(reader, progress)
            compared = None
        else:
            stack.enter_context(source)
            os.link(before / "index.sqlite", index)
            reader = stack.enter_context(ArchiveReader.reopen(source, index))
            compared = stack.enter_context(closing(Plan(before / "plan.sqlite")))
        writer = stack.enter_context(closing(PlanWriter(folder / "plan.sqlite")))
        work = _Inspection(
            folder=folder,
            reader=reader,
            writer=writer,
            registry=registry,
            storage=storage,
            choice=choice,
            compared=compared,
            refused=refused.load(without, reader.digest),
            progress=progress,
        )
        with progress.step("compare"):
            rights_lost = work.compare(actor)
            plan_hash = writer.complete(
                rights_lost=rights_lost,
                digest=reader.digest,
                choice=choice,
                archive=archive,
                actor=actor,
                totals={kind.name: reader.count(kind, left_out=True) for kind in KINDS},
                refused=work.refused,
            )
        with closing(Plan(folder / "plan.sqlite")) as plan:
            return {
                "manifest": reader.manifest.as_json(),
                "size_bytes": reader.size,
                "digest": reader.digest,
                "plan": {kind.name: dict(plan.states(kind)) for kind in KINDS},
                "effect": {kind.name: plan.effect(kind) for kind in KINDS},
                "plan_hash": plan_hash,
            }


def action(comparison: Comparison, state: str, choice: Choice) -> Action | None:
    """What becomes of a row, by what it is and the choice."""
    if state == "create":
        return "create"
    if state == "conflict" and choice.overwrite:
        return "overwrite" if is_replaceable(comparison, protected=choice.protected) else None
    return None


class _Files:
    """The files of the releases of an archive, each with what another plan knows of it, asked for
    in order of n."""

    def __init__(self, reader: ArchiveReader, compared: Plan | None) -> None:
        def planned(plan: Plan, file_type: FileType) -> Iterator[tuple[int, PlannedFile]]:
            return ((each.n, each) for each in plan.files(file_type))

        self._of_type = [
            (
                each,
                Following(reader.files(each)),
                None if compared is None else Following(planned(compared, each)),
            )
            for each in FILE_TYPES
        ]

    def release(self, n: int) -> Iterator[tuple[FileType, FileEntry, PlannedFile | None]]:
        for file_type, entries, compared in self._of_type:
            entry = entries.at(n)
            if entry is not None:
                yield file_type, entry, None if compared is None else compared.at(n)


class _Archived(NamedTuple):
    """A file of a release, and what another plan knows of it."""

    file: ReleaseFile
    entry: FileEntry
    known: PlannedFile | None


class _Release(NamedTuple):
    """A release, and those of its files that are looked at in the storage, which has a `problem`
    with it."""

    comparison: Comparison
    files: list[_Archived]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Inspection:
    folder: Path
    reader: ArchiveReader
    writer: PlanWriter
    registry: Registry
    storage: Storage
    choice: Choice
    #: A plan of the same archive, for what it knows of the stored files.
    compared: Plan | None
    refused: Refused
    progress: Progress

    def compare(self, actor: str | None) -> list[str]:
        """Fill the plan. Returns the protected fields with a right that would be lost."""
        self._refuse_unknown()
        self.progress.expect(
            {"compare": (self.reader.file_bytes(), sum(map(self.reader.count, KINDS)))}
        )
        choice = self.choice
        unknown: dict[Kind, set[str]] = {kind: set() for kind in KINDS}
        with (
            self._shared_places() as places,
            self.registry.restoration(
                protected=choice.protected, actor=actor, overwrite=choice.overwrite
            ) as restoration,
        ):
            rights = Foreseen(restoration.rights())
            files_of = _Files(self.reader, self.compared)
            for kind in KINDS:
                self._add_left_out(kind)
                restoration.stage(kind, self._chosen(kind, unknown[kind]), self.refused[kind.name])
                found: Iterator[tuple[PlannedRecord, list[PlannedFile]]]
                compared = restoration.compare(kind, changes=True)
                if kind is RELEASES:
                    found = self._releases(compared, places, files_of)
                else:
                    found = ((self._planned(each, each.state), []) for each in compared)
                for planned, files in found:
                    self.progress.advance(items=1)
                    self.writer.add(kind, planned, files)
                    # With what the places of the files say of a release.
                    if not planned.comparison.is_plain:
                        rights.add(planned)
                        for notice in record_notices(kind, planned, choice):
                            self.writer.note(notice)
                    for file in files:
                        if file.differs:
                            self.writer.note(file_notice(file))
        for notice in rights.notices(choice):
            self.writer.note(notice)
        for notice in archive_notices(self.reader.warnings(choice.takes), unknown):
            self.writer.note(notice)
            self.progress.warn(notice)
        return rights.lost

    def _add_left_out(self, kind: Kind) -> None:
        """Records that the archive's own faults block; the reader warns of them."""
        for each in self.reader.left_out(kind):
            if self.choice.takes(kind, each.key):
                comparison = Comparison(-each.n, each.shown_key, "blocked", reason=each.reason)
                self.writer.add(kind, PlannedRecord("blocked", comparison, None))

    def _refuse_unknown(self) -> None:
        """Raises NotFoundError for a chosen package or release that the archive has not."""
        packages = ((name,) for name in self.choice.packages or ())
        for kind, keys in ((PACKAGES, packages), (RELEASES, self.choice.releases)):
            missing = set(keys)
            if missing:
                missing.difference_update(self.reader.keys(kind))
            if missing:
                names = ", ".join(" ".join(key) for key in sorted(missing)[:10])
                raise NotFoundError(
                    f"The archive has no {kind.one} {names}: choose from those that it has, and "
                    "start again."
                )

    def _chosen(self, kind: Kind, unknown: set[str]) -> Iterator[tuple[int, Record, None]]:
        known = self.registry.fields(kind)
        names: tuple[str, ...] = ()
        for n, record in self.reader.records(kind):
            if self.choice.takes(kind, kind.key_of(record)):
                # Nearly all have the same.
                if names != (names := tuple(record)):
                    unknown |= record.keys() - known
                yield n, record, None

    def _planned(self, comparison: Comparison, state: Any) -> PlannedRecord:
        does = action(comparison, state, self.choice)
        return PlannedRecord(state, comparison, does)

    @contextmanager
    def _shared_places(self) -> Iterator[Places | None]:
        """The places of the files of all releases, here and in the archive, where the storage may
        take two for one."""
        alike = self.storage.alike()
        if alike is None:
            yield None
            return
        with closing(Places(self.folder / "places.sqlite", alike)) as places:
            # Before the restoration: an operation takes one connection at a time.
            with self.registry.snapshot() as snapshot:
                places.add(snapshot.keys(RELEASES, hidden=True), marked("registry"))
            archived = self.reader.keys(RELEASES)
            taken = (key for key in archived if self.choice.takes(RELEASES, key))
            places.add(taken, marked("archive"))
            yield places

    def _releases(
        self, compared: Iterator[Comparison], places: Places | None, files_of: _Files
    ) -> Iterator[tuple[PlannedRecord, list[PlannedFile]]]:
        """Releases, each with its files: one that differs makes a conflict of an unchanged row, and
        one that the storage can't hold blocks a new row."""
        at_once = self.storage.at_once
        while batch := list(islice(compared, _BATCH * at_once)):
            releases = [self._release(each, places, files_of) for each in batch]
            stats = self.storage.stats(each.file for release in releases for each in release.files)
            looks = ((release, list(islice(stats, len(release.files)))) for release in releases)
            yield from in_order(self._look, looks, at_once)

    def _release(self, comparison: Comparison, places: Places | None, files_of: _Files) -> _Release:
        if comparison.state == "create" and places is not None:
            problem = places.problem(comparison.key)
            if problem is not None:
                return _Release(comparison, [], problem)
        # What a strategy leaves hidden keeps its files, and what is blocked gets none.
        if comparison.state == "blocked" or (comparison.hidden and not self.choice.overwrite):
            return _Release(comparison, [])
        return _Release(
            comparison,
            [
                _Archived(ReleaseFile(file_type, *comparison.key), entry, known)
                for file_type, entry, known in files_of.release(comparison.n)
            ],
        )

    def _look(
        self, look: tuple[_Release, list[StoredFile | None]]
    ) -> tuple[PlannedRecord, list[PlannedFile]]:
        """A release and its files as they are planned."""
        release, stored_files = look
        comparison, files = release.comparison, []
        if release.problem is not None:
            blocked = comparison._replace(reason=release.problem)
            return PlannedRecord("blocked", blocked, None), []
        state, overwrite, n = comparison.state, self.choice.overwrite, comparison.n
        for each, now in zip(release.files, stored_files, strict=True):
            file, size = each.file, each.entry.size
            stored, differs = self._stored(each, now)
            if stored is None:
                files.append(PlannedFile(file, n, "place", None, size, None, differs))
                continue
            if differs and state == "unchanged":
                state = "conflict"
            does: FileAction | None = None
            if differs and (overwrite or state == "create"):
                does = "replace"
            files.append(PlannedFile(file, n, does, stored.tag, size, stored.size, differs))
        return self._planned(comparison, state), files

    def _stored(
        self, archived: _Archived, stored: StoredFile | None
    ) -> tuple[StoredFile | None, bool]:
        """The stored file, its tag sealed where it was read, and whether it has another
        content."""
        file, entry, known = archived
        if stored is None or stored.size != entry.size:
            return stored, stored is not None
        if known is not None and known.tag is not None and bare(known.tag) == stored.tag:
            self.progress.advance(stored.size)
            return StoredFile(stored.size, known.tag), known.differs
        try:
            with self.storage.open(file) as content:
                sha256 = HashedFile(content, self.progress.advance).rest()
        except FileNotFoundError:
            # The host has deleted it meanwhile.
            return None, False
        return StoredFile(stored.size, sealed(stored.tag, sha256)), sha256 != entry.sha256
