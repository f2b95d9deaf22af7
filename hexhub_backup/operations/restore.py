"""Restore: do exactly what a plan says, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any

from hexhub_backup.archive.faults import MAX_FAULTS, FaultList
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileEntry,
    FileType,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.source import OpenArchive
from hexhub_backup.errors import (
    ArchiveError,
    ChangedError,
    ConflictError,
    Fault,
    RightsError,
    SpaceError,
)
from hexhub_backup.notices import WARNINGS, notice
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.commit_protocol import DECIDING_STEPS, Commit
from hexhub_backup.operations.decisions import Decisions, JournalEntry
from hexhub_backup.operations.differences import (
    change,
    fault_of,
    not_archived,
    refuse_changes,
    same,
)
from hexhub_backup.operations.joining import joined
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.outcome import outcome_of_restore
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.planned import PlannedFile
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.rights import lost
from hexhub_backup.operations.undo_set import UndoSet
from hexhub_backup.registry.base import Action, Comparison, Registry, Restoration
from hexhub_backup.storage.base import Storage, bare, sealed
from hexhub_backup.storage.many import in_order

STEPS = (
    "check_space",
    "stage_package_files",
    "stage_doc_files",
    *(f"restore_{kind.name}" for kind in KINDS),
    *DECIDING_STEPS,
)

# Records that are in memory at a time: each may take megabytes.
_FEW = 20
_STAGE_STEP: dict[FileType, str] = {"package": "stage_package_files", "docs": "stage_doc_files"}


def restore(
    *,
    operation_id: str,
    open_archive: OpenArchive,
    folder: Path,
    undo_set: KeptFile,
    changed: KeptFile,
    registry: Registry,
    storage: Storage,
    decisions: Decisions,
    progress: Progress,
) -> dict[str, Any]:
    """Do what the plan in `folder` says, and leave in `undo_set` what it takes to undo it, and in
    `changed` the names of what it changed.

    The outcome is `records` (per kind `created`, `overwritten`, `unchanged`, `skipped`,
    `left_out` and `not_chosen`), `files` (`placed`, `replaced`, `bytes`), and `changed`: of the
    `packages` and `users` that were, and of the users whose `credentials` were, the `count` and
    the first hundred `names`.

    Raises ConflictError under the strategy fail, ChangedError where the registry is not what the
    plan was made of, ArchiveError where the archive is not, SpaceError, StorageError,
    DatabaseError, OSError: in each case nothing was restored.
    """
    with (
        closing(Plan(folder / "plan.sqlite")) as plan,
        open_archive(plan.about["archive"]) as source,
        ArchiveReader.reopen(source, folder / "index.sqlite") as reader,
    ):
        commit = Commit(
            operation=operation_id,
            verb="restore",
            registry=registry,
            storage=storage,
            decisions=decisions,
            progress=progress,
            undo_set=undo_set,
            changed=changed,
        )
        return _Restore(
            reader=reader,
            plan=plan,
            undo_set=undo_set,
            registry=registry,
            storage=storage,
            progress=progress,
            commit=commit,
        ).run()


def expected(plan: Plan, *, places_directly: bool) -> dict[str, tuple[int, int]]:
    """How many bytes and items there are to do in each step of a restore by the plan."""
    counts = {kind: plan.staged_count(kind) for kind in KINDS}
    sizes = {_STAGE_STEP[each]: plan.file_bytes(each) for each in FILE_TYPES}
    late = dict.fromkeys(sizes, 0)
    if places_directly:
        late = {_STAGE_STEP[each]: plan.placed_bytes(each) for each in FILE_TYPES}
    return {
        **{step: (size - late[step], 0) for step, size in sizes.items()},
        **{f"restore_{kind.name}": (0, count) for kind, count in counts.items()},
        "decide": (sum(late.values()), plan.file_counts()["place"]),
    }


#: A file that was staged, and the tags of it and of the one that was kept, sealed.
_Staged = tuple[PlannedFile, str, str | None]


@dataclass(frozen=True, kw_only=True)
class _Restore:
    reader: ArchiveReader
    plan: Plan
    undo_set: KeptFile
    registry: Registry
    storage: Storage
    progress: Progress
    commit: Commit

    def run(self) -> dict[str, Any]:
        """See `commit_protocol` for what is durable when."""
        with self.progress.step("check_space"):
            if self.plan.choice.strategy == "fail":
                self._refuse_conflicts()
            self._check_space()
        for noted in self.plan.notes():
            if noted.code in WARNINGS:
                self.progress.warn(noted)
        with self.commit.or_give_up(), closing(UndoSet(self.undo_set.here(), make=True)) as undo:
            self._restore(undo)
        with self.commit.finish() as outcome:
            if not any(each["count"] for each in outcome["changed"].values()):
                # There is nothing to undo.
                self.undo_set.remove()
        return outcome

    def _restore(self, undo: UndoSet) -> None:
        """Stage files and rows, and decide."""
        for file_type in FILE_TYPES:
            with self.progress.step(_STAGE_STEP[file_type]):
                self._stage_files(file_type, undo)
        self.storage.flush()
        choice = self.plan.choice
        with self.registry.restoration(
            protected=choice.protected, actor=self.plan.about["actor"], overwrite=choice.overwrite
        ) as restoration:
            for kind in KINDS:
                with self.progress.step(f"restore_{kind.name}"):
                    refused = self.plan.about["refused"][kind.name].items()
                    restoration.stage(
                        kind, self._rows(kind, undo), {int(n): why for n, why in refused}
                    )
            about = {"protected": choice.protected, "actor": self.plan.about["actor"]}
            undo.list_placed(about)
            self.undo_set.keep()
            with closing(ChangedNames(self.commit.changed.here())) as names:
                outcome = outcome_of_restore(self.plan, names)
            self.commit.changed.keep()
            replacements = self._replacements(undo)
            with self.commit.decisions.staged(restoration.connection, replacements):
                self._decide(restoration, undo, outcome)

    def _refuse_conflicts(self) -> None:
        faults: list[Fault] = []
        count = 0
        for kind in KINDS:
            states = self.plan.states(kind)
            count += states["conflict"] + states["blocked"]
            for records in (self.plan.conflicts(kind), self.plan.blocked(kind)):
                faults += [fault_of(kind, record) for record in islice(records, MAX_FAULTS)]
        if count:
            raise ConflictError(
                f"Nothing was restored, because {count:,} of the records are there and differ or "
                "can't be written: choose the strategy skip or overwrite to restore the others.",
                faults[:MAX_FAULTS],
            )

    def _check_space(self) -> None:
        work = expected(self.plan, places_directly=self.storage.places_directly)
        self.progress.expect(work)
        needed, free = sum(size for size, _ in work.values()), self.storage.free()
        if needed > free:
            raise SpaceError(
                f"The files need {needed:,} bytes in {self.storage.location}, and there are "
                f"{free:,}: make room there. Nothing was restored."
            )

    def _stage_files(self, file_type: FileType, undo: UndoSet) -> None:
        planned = self.plan.files(file_type, "place", "replace")
        files = joined(
            ((each.n, each) for each in planned),
            self.reader.files(file_type),
            lambda lost: not_archived(lost.file.member),
        )
        undo.add_files(self._told(in_order(self._staged, files, self.storage.at_once)))

    def _told(self, staged: Iterator[_Staged]) -> Iterator[_Staged]:
        for each in staged:
            yield each
            self.progress.advance()

    def _staged(self, each: tuple[PlannedFile, FileEntry]) -> _Staged:
        """Stage a file, and keep the one that it replaces; returns their tags, sealed."""
        planned, entry = each
        operation, file, purpose = self.commit.operation, planned.file, planned.purpose
        tag = self.storage.stage(operation, file, self._chunks(entry), purpose=purpose)
        kept = None
        if purpose == "replace":
            kept = self.storage.keep(operation, file, str(planned.tag))
        return planned, sealed(tag, str(entry.sha256)), kept

    def _content(self, file: ReleaseFile) -> Iterator[bytes]:
        """The bytes of a file; where they are is looked up at once."""
        entry = self.reader.file(file)
        if entry is None:
            raise not_archived(file.member)
        return self._chunks(entry)

    def _chunks(self, entry: FileEntry) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for chunk in self.reader.open_file(entry):
            digest.update(chunk)
            yield chunk
            self.progress.advance(len(chunk))
        if digest.hexdigest() != entry.sha256:
            raise ArchiveError(
                f"{entry.member} is not what it was when the archive was inspected: nothing was "
                "restored. Inspect the archive again."
            )

    def _rows(self, kind: Kind, undo: UndoSet) -> Iterator[tuple[int, Record, Action | None]]:
        """What the plan has of a kind; what is going to be written goes to the undo set too."""
        planned = ((each.n, each) for each in self.plan.actions(kind))
        written: list[tuple[int, Action, str]] = []
        bodies = self.reader.bodies(kind)
        for (n, action, _), body in joined(planned, bodies, lambda lost: not_archived(lost.label)):
            if action is not None:
                written.append((n, action, body))
                if len(written) == _FEW:
                    undo.add_left(kind, written)
                    written.clear()
            yield n, json.loads(body), action
            self.progress.advance(items=1)
        undo.add_left(kind, written)

    def _decide(self, restoration: Restoration, undo: UndoSet, outcome: dict[str, Any]) -> None:
        """The deciding transaction. Whatever is raised in here undoes all of it."""

        def prepare() -> None:
            self._check_records(restoration)
            self._check_files(self.plan.stored())
            self._place(undo.placed(new=True))

        puts_back = next(undo.placed(new=False), None) is not None
        with self.commit.decision(prepare, restoration.decision()) as connection:
            self._check_records(restoration)
            held = restoration.rights()
            for kind in KINDS:
                undo.add_before(kind, restoration.replaced(kind))
                for _, record in undo.not_kept(kind):
                    self.progress.warn(notice("not_kept", kind.label(kind.key_of(record)), "row"))
            restoration.write_all()
            self._check_rights(lost(held, restoration.rights()))
            for kind in KINDS:
                for key in restoration.still_hidden(kind):
                    self.progress.warn(notice("still_hidden", kind.label(key), "hidden"))
            undo.complete()
            self.undo_set.keep()
            self.commit.decide(connection, outcome)
            if puts_back:
                # Whoever has the row would see its file.
                self._place(undo.placed(new=False))
            # Last: a host may write to its files without asking the database.
            self._check_files(self.plan.stored(written=True))
            self._check_placed(undo)

    def _check_files(self, planned: Iterator[tuple[ReleaseFile, str | None]]) -> None:
        """See that each stored file is still what it was planned as."""
        faults = FaultList()
        # Read twice: what the storage is asked for comes first.
        asked, planned = tee(planned)
        stats = self.storage.stats(file for file, _ in asked)
        for stored, (file, tag) in zip(stats, planned, strict=True):
            if (stored and stored.tag) != (tag and bare(tag)):
                message = f"its {file.type} file changed meanwhile"
                faults.add(Fault("changed", message, record=file.label))
        refuse_changes(faults)

    def _place(self, files: Iterator[tuple[ReleaseFile, str]]) -> None:
        def counted(first: tuple[ReleaseFile, str]) -> Iterator[tuple[ReleaseFile, str]]:
            for file in chain([first], files):
                yield file
                self.progress.advance(items=1)

        if (first := next(files, None)) is not None:
            self.storage.place(self.commit.operation, counted(first), self._content)
            self.storage.flush()

    def _check_records(self, restoration: Restoration) -> None:
        """Work out each action again: before others are kept waiting, as a restore that can't be
        is to end there, and when nobody else can write."""
        faults = FaultList()
        for kind in KINDS:
            for planned, now in self._compared(restoration, kind):
                message = change(planned, now)
                if message is not None:
                    faults.add(Fault("changed", message, record=kind.label(now.key)))
        refuse_changes(faults)

    def _compared(
        self, restoration: Restoration, kind: Kind
    ) -> Iterator[tuple[Comparison, Comparison]]:
        """Each record as it was planned, and as it is now; without those that are going to be
        created and still can be, and those that are unchanged and still are."""
        rest = self.plan.differing(kind)
        planned = next(rest, None)
        last = 0
        for now in restoration.compare(kind, skip_new=True, skip_same=True):
            if now.n == last:
                # The database has two rows for it.
                continue
            last = now.n
            while planned is not None and planned.comparison.n < now.n:
                yield planned.comparison, same(planned)
                planned = next(rest, None)
            if planned is None or planned.comparison.n > now.n:
                yield Comparison(now.n, now.key, self.plan.state_of(kind, now.n)), now
            else:
                yield planned.comparison, now
                planned = next(rest, None)
        while planned is not None:
            yield planned.comparison, same(planned)
            planned = next(rest, None)

    def _check_rights(self, gone: list[str]) -> None:
        """What nobody holds any more has to have been granted, and said in the plan."""
        choice, said = self.plan.choice, self.plan.about["rights_lost"]
        if gone and not choice.protected:
            raise RightsError(
                f"Nobody who is active would hold {', '.join(gone)} any more: nothing was "
                "restored. If that is meant, let administrator rights in: a box of the plan, or "
                "--grant-protected."
            )
        if unsaid := [field for field in gone if field not in said]:
            raise ChangedError(
                f"Nobody who is active would hold {', '.join(unsaid)} any more, which the plan "
                "does not say: nothing was restored. Inspect the archive again."
            )

    def _check_placed(self, undo: UndoSet) -> None:
        def is_ours(placed: tuple[ReleaseFile, str]) -> tuple[ReleaseFile, bool]:
            file, tag = placed
            return file, self.storage.known(file, tag, by_content=False) is not None

        for file, ours in in_order(is_ours, undo.placed(), self.storage.at_once):
            if not ours:
                message = f"its {file.type} file was written over meanwhile"
                raise ChangedError(
                    f"The host has changed the {file.type} file of {file.label} while it was "
                    "restored: nothing was restored. Inspect the archive again.",
                    [Fault("changed", message, record=file.label)],
                )

    def _replacements(self, undo: UndoSet) -> Iterator[tuple[int, JournalEntry]]:
        replaced = ((each.n, each) for each in undo.replaced())
        bodies = self.reader.bodies(RELEASES)
        for left, body in joined(replaced, bodies, lambda lost: not_archived(lost.file.label)):
            yield left.n, JournalEntry(left.file, "replace", left.kept or "", json.loads(body))
