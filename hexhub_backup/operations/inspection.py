"""Inspect: check an archive, and plan what a restore of it would do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader, FileEntry
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    PACKAGES,
    RELEASES,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.errors import NotFoundError
from hexhub_backup.operations import refused, verify
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.notes import note_archive, note_file, note_record
from hexhub_backup.operations.places import Places
from hexhub_backup.operations.plan import (
    FileAction,
    Plan,
    PlannedFile,
    PlannedRecord,
    PlanWriter,
)
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.refused import Refused
from hexhub_backup.operations.rights import Foreseen
from hexhub_backup.registry.base import Action, Comparison, Registry
from hexhub_backup.storage.base import Storage, StoredFile, bare, sealed

STEPS = (*verify.STEPS, "compare")
#: Of an archive whose index is there already, for another choice.
STEPS_AGAIN = ("compare",)

_CHUNK = 1 << 20


def inspect(
    *,
    archive: Path,
    folder: Path,
    registry: Registry,
    storage: Storage,
    choice: Choice,
    actor: str,
    progress: Progress,
    before: Path | None = None,
    without: Iterable[Path] = (),
) -> dict[str, Any]:
    """Check the archive and write its index and the plan to `folder`, for `restore`.

    With `before`, the folder of another plan of the same archive, the archive is not read again,
    and no stored file that is still the one that was compared. `without` are files of
    `refused.save`, of the operations that the choice names: their records are blocked.

    The outcome is `manifest`, `size_bytes`, `digest`, `plan`: per kind how many records are in
    each state, `effect`: per kind what would become of them, and `plan_hash`. Changes nothing.
    Raises ArchiveError with every fault, NotFoundError for a chosen package that the archive has
    not or a file that is none, ChangedError for one of another archive, DatabaseError, OSError.
    """
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        if before is None:
            reader = stack.enter_context(ArchiveReader(archive, folder / "index.sqlite"))
            # About what comparing costs, so that the end is not told before it is there.
            progress.expect({"compare": (reader.size, 0)})
            verify.check(reader, progress)
            compared = None
        else:
            os.link(before / "index.sqlite", folder / "index.sqlite")
            reader = stack.enter_context(ArchiveReader.reopen(archive, folder / "index.sqlite"))
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
                archive=str(archive),
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
    if state == "conflict" and choice.overwrite and not comparison.own:
        # Whoever made the archive must not become an admin by it.
        return "overwrite" if choice.protected or not comparison.privileged else None
    return None


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

    def compare(self, actor: str) -> list[str]:
        """Fill the plan. Gives the protected fields of which a right would be lost."""
        self._refuse_unknown_packages()
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
            for kind in KINDS:
                self._add_left_out(kind)
                restoration.stage(kind, self._chosen(kind, unknown[kind]), self.refused[kind.name])
                for comparison in restoration.compare(kind, changes=True):
                    self.progress.advance(items=1)
                    if kind is RELEASES:
                        planned, files = self._release(comparison, places)
                    else:
                        planned, files = self._planned(comparison, comparison.state), []
                    self.writer.add(kind, planned, files)
                    rights.add(planned)
                    for note in note_record(kind, planned, choice):
                        self.writer.note(note.code, note.message, note.record)
                    for file in files:
                        for note in note_file(file):
                            self.writer.note(note.code, note.message, note.record)
        for note in rights.notes(choice):
            self.writer.note(note.code, note.message, note.record)
        for note in note_archive(self.reader.warnings(choice.takes), unknown):
            self.writer.note(note.code, note.message, note.record)
            self.progress.warn(note.code, note.message, note.record)
        return rights.lost

    def _add_left_out(self, kind: Kind) -> None:
        """Records that the archive's own faults block; the reader warns of them."""
        for each in self.reader.left_out(kind):
            if self.choice.takes(kind, each.key):
                found = Comparison(-each.n, each.shown_key, "blocked", reason=each.reason)
                self.writer.add(kind, PlannedRecord("blocked", found, None))

    def _refuse_unknown_packages(self) -> None:
        if self.choice.packages is None:
            return
        missing = set(self.choice.packages)
        missing -= {PACKAGES.key_of(record)[0] for _, record in self.reader.records(PACKAGES)}
        if missing:
            names = ", ".join(sorted(missing)[:10])
            raise NotFoundError(
                f"The archive has no package {names}: choose from those that it has, and start "
                "again."
            )

    def _chosen(self, kind: Kind, unknown: set[str]) -> Iterator[tuple[int, Record, None]]:
        known = self.registry.fields(kind)
        for n, record in self.reader.records(kind):
            if self.choice.takes(kind, kind.key_of(record)):
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
                places.add(snapshot.keys(RELEASES, hidden=True), "registry")
            archived = (RELEASES.key_of(record) for _, record in self.reader.records(RELEASES))
            places.add((key for key in archived if self.choice.takes(RELEASES, key)), "archive")
            yield places

    def _release(
        self, comparison: Comparison, places: Places | None
    ) -> tuple[PlannedRecord, list[PlannedFile]]:
        """A release with its files: one that differs makes a conflict of an unchanged row, and
        one that the storage can't hold blocks a new row."""
        state = comparison.state
        if state == "create" and places is not None:
            problem = places.problem(comparison.key)
            if problem is not None:
                return PlannedRecord("blocked", replace(comparison, reason=problem), None), []
        files: list[PlannedFile] = []
        overwrite = self.choice.overwrite
        # What a strategy leaves hidden keeps its files, and what is blocked gets none.
        if state != "blocked" and (overwrite or not comparison.hidden):
            for file_type in FILE_TYPES:
                file = ReleaseFile(file_type, *comparison.key)
                entry = self.reader.file(file)
                if entry is None:
                    continue
                stored, differs = self._stored(entry, file, comparison.n)
                if differs and state == "unchanged":
                    state = "conflict"
                does: FileAction | None = None
                if stored is None:
                    does = "place"
                elif differs and (overwrite or state == "create"):
                    does = "replace"
                files.append(
                    PlannedFile(
                        file=file,
                        n=comparison.n,
                        action=does,
                        tag=None if stored is None else stored.tag,
                        size=entry.size,
                        stored_size=None if stored is None else stored.size,
                        differs=differs,
                    )
                )
        return self._planned(comparison, state), files

    def _stored(
        self, entry: FileEntry, file: ReleaseFile, n: int
    ) -> tuple[StoredFile | None, bool]:
        """The stored file, its tag sealed where it was read, and whether it has another
        content."""
        stored = self.storage.stat(file)
        if stored is None or stored.size != entry.size:
            return stored, stored is not None
        if self.compared is not None:
            known = self.compared.file(file.type, n)
            if known is not None and known.tag is not None and bare(known.tag) == stored.tag:
                self.progress.advance(stored.size)
                return StoredFile(stored.size, known.tag), known.differs
        digest = hashlib.sha256()
        try:
            with self.storage.open(file) as content:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
                    self.progress.advance(len(chunk))
        except FileNotFoundError:
            # The host has deleted it meanwhile.
            return None, False
        sha256 = digest.hexdigest()
        return StoredFile(stored.size, sealed(stored.tag, sha256)), sha256 != entry.sha256
