"""Restore: do exactly what a plan says, all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader, FileEntry
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileType,
    Kind,
    Record,
)
from hexhub_backup.errors import (
    WARNING_CODES,
    ArchiveError,
    ChangedError,
    ConflictError,
    Fault,
    RightsError,
    SpaceError,
)
from hexhub_backup.operations.catalog import Catalog, JournalEntry
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.outcome import outcome_of
from hexhub_backup.operations.placing import finish_or_leave, give_up, was_decided
from hexhub_backup.operations.plan import Plan, PlannedRecord
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.rights import lost
from hexhub_backup.operations.undo_set import UndoSet
from hexhub_backup.registry.base import Action, Comparison, Registry, Restoration
from hexhub_backup.storage.base import Storage, bare, sealed

STEPS = (
    "check_space",
    "stage_package_files",
    "stage_doc_files",
    "restore_users",
    "restore_packages",
    "restore_releases",
    "restore_owners",
    "decide",
    "place_files",
)

#: An error lists so many faults.
_LISTED = 100
# Records that are in memory at a time: each may take megabytes.
_FEW = 20
_STAGE_STEP: dict[FileType, str] = {"package": "stage_package_files", "docs": "stage_doc_files"}


def restore(
    *,
    operation_id: str,
    folder: Path,
    undo_set: Path,
    changed: Path,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
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
        ArchiveReader.reopen(Path(plan.about["archive"]), folder / "index.sqlite") as reader,
    ):
        return _Restore(
            operation_id=operation_id,
            reader=reader,
            plan=plan,
            undo_set=undo_set,
            changed=changed,
            registry=registry,
            storage=storage,
            catalog=catalog,
            progress=progress,
        ).run()


def expected(plan: Plan) -> dict[str, tuple[int, int]]:
    """How many bytes and items there are to do in each step of a restore by the plan."""
    counts = {kind: plan.staged_count(kind) for kind in KINDS}
    return {
        **{_STAGE_STEP[each]: (plan.file_bytes(each), 0) for each in FILE_TYPES},
        **{f"restore_{kind.name}": (0, count) for kind, count in counts.items()},
        "decide": (0, sum(counts.values())),
    }


@dataclass(kw_only=True)
class _Restore:
    operation_id: str
    reader: ArchiveReader
    plan: Plan
    undo_set: Path
    changed: Path
    registry: Registry
    storage: Storage
    catalog: Catalog
    progress: Progress

    def run(self) -> dict[str, Any]:
        progress, choice = self.progress, self.plan.choice
        with progress.step("check_space"):
            if choice.strategy == "fail":
                self._refuse_conflicts()
            self._check_space()
        for note in self.plan.notes():
            if note.code in WARNING_CODES:
                progress.warn(note.code, note.message, note.record)
        deciding = False
        try:
            with closing(UndoSet(self.undo_set, make=True)) as undo:
                for file_type in FILE_TYPES:
                    with progress.step(_STAGE_STEP[file_type]):
                        self._stage_files(file_type, undo)
                self.storage.flush()
                with self.registry.restoration(
                    protected=choice.protected,
                    actor=self.plan.about["actor"],
                    overwrite=choice.overwrite,
                ) as restoration:
                    for kind in KINDS:
                        with progress.step(f"restore_{kind.name}"):
                            refused = self.plan.about["refused"][kind.name].items()
                            restoration.stage(
                                kind, self._rows(kind, undo), {int(n): why for n, why in refused}
                            )
                    undo.flush()
                    with closing(ChangedNames(self.changed)) as names:
                        outcome = outcome_of(self.plan, names)
                    deciding = True
                    with progress.held(), progress.step("decide"):
                        self._decide(restoration, undo, outcome)
        except BaseException:
            if not (deciding and was_decided(self.operation_id, self.catalog)):
                give_up(self.operation_id, self.storage, self.undo_set, self.changed)
                raise
        progress.decided()
        with progress.step("place_files"):
            finish_or_leave(
                self.operation_id,
                self.registry,
                self.storage,
                self.catalog,
                warn=progress.warn,
                outcome=outcome,
                verb="restore",
            )
            if not any(each["count"] for each in outcome["changed"].values()):
                # There is nothing to undo.
                self.undo_set.unlink()
        return outcome

    def _refuse_conflicts(self) -> None:
        faults: list[Fault] = []
        count = 0
        for kind in KINDS:
            states = self.plan.states(kind)
            count += states["conflict"] + states["blocked"]
            for found in (self.plan.conflicts(kind), self.plan.blocked(kind)):
                faults += [_fault(kind, record) for record in islice(found, _LISTED)]
        if count:
            raise ConflictError(
                f"Nothing was restored, because {count:,} of the records are there and differ or "
                "can't be written: choose the strategy skip or overwrite to restore the others.",
                faults[:_LISTED],
            )

    def _check_space(self) -> None:
        work = expected(self.plan)
        self.progress.expect(work)
        needed, free = sum(size for size, _ in work.values()), self.storage.free()
        if needed > free:
            raise SpaceError(
                f"The files need {needed:,} bytes in {self.storage.root}, and there are {free:,}: "
                "make room there. Nothing was restored."
            )

    def _stage_files(self, file_type: FileType, undo: UndoSet) -> None:
        for planned in self.plan.files(file_type, "place", "replace"):
            file, replaces = planned.file, planned.action == "replace"
            entry = self.reader.file(file)
            if entry is None:
                raise ArchiveError(f"{file.member} is not in the archive: inspect it again.")
            chunks = self._chunks(entry)
            tag = self.storage.stage(self.operation_id, file, chunks, replaces=replaces)
            kept = None
            if replaces:
                kept = self.storage.keep(self.operation_id, file, str(planned.tag))
            undo.add_file(planned, sealed(tag, str(entry.sha256)), kept)

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
        records = self.reader.records(kind)
        written: list[tuple[int, Action, Record]] = []
        for planned in self.plan.staged(kind):
            n = planned.comparison.n
            record = next(record for number, record in records if number == n)
            if planned.action is not None:
                written.append((n, planned.action, record))
                if len(written) == _FEW:
                    undo.add_left(kind, written)
                    written.clear()
            yield n, record, planned.action
            self.progress.advance(items=1)
        undo.add_left(kind, written)

    def _decide(self, restoration: Restoration, undo: UndoSet, outcome: dict[str, Any]) -> None:
        """The deciding transaction. Whatever is raised in here undoes all of it."""
        with restoration.decision() as connection:
            self._check_unchanged(restoration)
            held = restoration.rights()
            for kind in KINDS:
                undo.add_before(kind, restoration.replaced(kind))
                for _, record in undo.not_kept(kind):
                    self.progress.warn(
                        "not_kept",
                        "its row holds what has no counterpart in JSON: it can't be brought back",
                        kind.label(kind.key_of(record)),
                    )
            restoration.write_all()
            self._check_rights(lost(held, restoration.rights()))
            for kind in KINDS:
                for key in restoration.still_hidden(kind):
                    self.progress.warn(
                        "still_hidden",
                        "it was restored, but the host still hides it: only a column that "
                        "travels can bring it back",
                        kind.label(key),
                    )
            outcome["warnings"] = [warning.as_json() for warning in self.progress.warnings]
            outcome["warning_count"] = self.progress.warning_count
            about = {"protected": self.plan.choice.protected, "actor": self.plan.about["actor"]}
            undo.complete(about)
            self.catalog.decide(connection, self.operation_id, outcome, self._replacements(undo))
            self.storage.place(self.operation_id, undo.placed())
            self.storage.flush()
            self._check_placed(undo)
            self.progress.check()

    def _check_unchanged(self, restoration: Restoration) -> None:
        """Work out each action again, now that nobody else can write."""
        faults = _Faults()
        for kind in KINDS:
            planned = self.plan.staged(kind)
            for plan, found in zip(planned, restoration.compare(kind), strict=True):
                message = _change(plan.comparison, found)
                if message is not None:
                    faults.add(Fault("changed", message, record=kind.label(found.key)))
                self.progress.advance(items=1)
        for file_type in FILE_TYPES:
            for planned_file in self.plan.files(file_type):
                file = planned_file.file
                stored = self.storage.stat(file)
                before = None if planned_file.tag is None else bare(planned_file.tag)
                if (None if stored is None else stored.tag) != before:
                    label = RELEASES.label((file.package, file.version))
                    faults.add(
                        Fault("changed", f"its {file_type} file changed meanwhile", record=label)
                    )
        if faults.count:
            raise ChangedError(
                f"The registry has changed since the plan was made, in {faults.count:,} places: "
                "nothing was restored. Inspect the archive again.",
                faults.listed,
            )

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
        """Look at each file once more: a host may write without asking the database."""
        for file, tag in undo.placed():
            if self.storage.known(file, tag, by_content=False) is None:
                label = RELEASES.label((file.package, file.version))
                message = f"its {file.type} file was written over meanwhile"
                raise ChangedError(
                    f"The host has changed the {file.type} file of {label} while it was restored: "
                    "nothing was restored. Inspect the archive again.",
                    [Fault("changed", message, record=label)],
                )

    def _replacements(self, undo: UndoSet) -> Iterator[JournalEntry]:
        for file_type in FILE_TYPES:
            releases = self.reader.records(RELEASES)
            for planned in self.plan.files(file_type, "replace"):
                record = next(record for n, record in releases if n == planned.n)
                yield JournalEntry(planned.file, "replace", undo.kept(planned), record)


def _change(planned: Comparison, found: Comparison) -> str | None:
    """In which way a record is not what it was planned as."""
    if found.state != planned.state:
        return f"it was planned as {planned.state} and is {found.state} now"
    if (found.differs, found.hidden) != (planned.differs, planned.hidden):
        return "it differs otherwise than planned"
    if found.state == "conflict" and found.privileged != planned.privileged:
        gained = "it holds a protected right by now" if found.privileged else "it holds none by now"
        return f"{gained}, and was planned otherwise"
    return None


class _Faults:
    """The first faults, and how many there are."""

    def __init__(self) -> None:
        self.listed: list[Fault] = []
        self.count = 0

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.listed) < _LISTED:
            self.listed.append(fault)


def _fault(kind: Kind, record: PlannedRecord) -> Fault:
    label = kind.label(record.comparison.key)
    if record.state == "blocked":
        return Fault("blocked", str(record.comparison.reason), record=label)
    if record.comparison.hidden:
        return Fault("conflict", "it is there, but the host hides it", record=label)
    fields = ", ".join(record.comparison.differs) or "its files"
    return Fault("conflict", f"it is there and differs in {fields}", record=label)
