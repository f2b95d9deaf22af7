"""Restore: do exactly what a plan says, all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    FileType,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.errors import (
    ArchiveError,
    BackupError,
    ChangedError,
    ConflictError,
    DatabaseError,
    Fault,
    InterruptedOperationError,
    SpaceError,
    StorageError,
)
from hexhub_backup.operations.catalog import Catalog, Replacement
from hexhub_backup.operations.placing import finish, give_up
from hexhub_backup.operations.plan import Plan, PlannedRecord
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Action, Registry, Restoration
from hexhub_backup.storage.base import Storage

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
_CREDENTIALS = {"password_hash", "totp_enabled", "deactivated_at"}
_STAGE_STEP: dict[FileType, str] = {"package": "stage_package_files", "docs": "stage_doc_files"}


def restore(
    *,
    operation_id: str,
    folder: Path,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
    progress: Progress,
) -> dict[str, Any]:
    """Do what the plan in `folder` says.

    The outcome is `records` (per kind `created`, `overwritten`, `unchanged`, `skipped` and
    `left_out`), `files` (`placed`, `replaced`, `bytes`), and `changed`: the names of the
    `packages` and `users` that were, and of the users whose `credentials` were.

    Raises ConflictError under the strategy fail, ChangedError where the registry is not what the
    plan was made of, ArchiveError where the archive is not, SpaceError, StorageError,
    DatabaseError, OSError: in each case nothing was restored.
    """
    with closing(Plan(folder / "plan.sqlite")) as plan:
        about = plan.about
        with ArchiveReader.reopen(Path(about["archive"]), folder / "index.sqlite") as reader:
            return _Restore(
                operation_id=operation_id,
                reader=reader,
                plan=plan,
                registry=registry,
                storage=storage,
                catalog=catalog,
                progress=progress,
            ).run(about)


@dataclass(kw_only=True)
class _Restore:
    operation_id: str
    reader: ArchiveReader
    plan: Plan
    registry: Registry
    storage: Storage
    catalog: Catalog
    progress: Progress

    def run(self, about: dict[str, Any]) -> dict[str, Any]:
        progress = self.progress
        with progress.step("check_space"):
            if about["strategy"] == "fail":
                self._refuse_conflicts()
            self._check_space()
        for warning in self.reader.warnings():
            progress.warn(warning.code, warning.message, warning.record)
        deciding = False
        try:
            for file_type in FILE_TYPES:
                with progress.step(_STAGE_STEP[file_type]):
                    self._stage_files(file_type)
            self.storage.flush()
            with self.registry.restoration(
                protected=about["protected"],
                actor=about["actor"],
                overwrite=about["strategy"] == "overwrite",
            ) as restoration:
                for kind in KINDS:
                    with progress.step(f"restore_{kind.name}"):
                        self._warn(kind)
                        restoration.stage(kind, self._rows(kind))
                outcome = self._outcome()
                deciding = True
                with progress.held(), progress.step("decide"):
                    self._decide(restoration, outcome)
        except BaseException:
            if not (deciding and self._was_decided()):
                give_up(self.operation_id, self.storage)
                raise
        progress.decided()
        with progress.step("place_files"):
            try:
                finish(self.operation_id, self.registry, self.storage, self.catalog, progress.warn)
            except (BackupError, OSError) as error:
                raise InterruptedOperationError(
                    "The restore has happened, but not all of the files that it overwrites could "
                    f"be replaced ({error}): mend that. The next operation, or the next start of "
                    "the host, goes on with it."
                ) from error
        return outcome

    def _refuse_conflicts(self) -> None:
        faults: list[Fault] = []
        count = 0
        for kind in KINDS:
            counts = self.plan.counts(kind)
            count += counts["conflict"] + counts["blocked"]
            for found in (self.plan.conflicts(kind), self.plan.blocked(kind)):
                faults += [_fault(kind, record) for record in islice(found, _LISTED)]
        if count:
            raise ConflictError(
                f"Nothing was restored, because {count:,} of the records are there and differ or "
                "can't be written: choose the strategy skip or overwrite to restore the others.",
                faults[:_LISTED],
            )

    def _check_space(self) -> None:
        work = {_STAGE_STEP[each]: (self.plan.file_bytes(each), 0) for each in FILE_TYPES}
        self.progress.expect(work)
        self.progress.expect(
            {f"restore_{kind.name}": (0, self.reader.count(kind)) for kind in KINDS}
        )
        self.progress.expect({"decide": (0, sum(map(self.reader.count, KINDS)))})
        needed, free = sum(size for size, _ in work.values()), self.storage.free()
        if needed > free:
            raise SpaceError(
                f"The files need {needed:,} bytes in {self.storage.root}, and there are {free:,}: "
                "make room there. Nothing was restored."
            )

    def _stage_files(self, file_type: FileType) -> None:
        for planned in self.plan.files(file_type, "place", "replace"):
            self.storage.stage(
                self.operation_id,
                planned.file,
                self._chunks(planned.file),
                replaces=planned.action == "replace",
            )

    def _chunks(self, file: ReleaseFile) -> Iterator[bytes]:
        entry = self.reader.file(file)
        if entry is None:
            raise ArchiveError(f"{file.member} is not in the archive: inspect it again.")
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

    def _rows(self, kind: Kind) -> Iterator[tuple[int, Record, Action | None]]:
        planned = self.plan.records(kind)
        for (n, record), plan in zip(self.reader.records(kind), planned, strict=True):
            yield n, record, plan.action
            self.progress.advance(items=1)

    def _warn(self, kind: Kind) -> None:
        for blocked in self.plan.blocked(kind):
            label = kind.label(blocked.comparison.key)
            self.progress.warn("blocked", str(blocked.comparison.reason), label)
        for record in self.plan.conflicts(kind):
            if record.comparison.own:
                self.progress.warn(
                    "own_account",
                    "it is the account that restores, and stays as it is",
                    kind.label(record.comparison.key),
                )
        for record in self.plan.written(kind):
            label = kind.label(record.comparison.key)
            if record.comparison.totp_dropped:
                self.progress.warn(
                    "totp_not_restored",
                    "no archive holds TOTP secrets: the account's second factor is off until its "
                    "owner sets it up again",
                    label,
                )
            if record.comparison.unknown_password:
                self.progress.warn(
                    "unknown_password_scheme",
                    "the password hash is of an unknown scheme and was restored as it is: try "
                    "whether this account can log in",
                    label,
                )

    def _decide(self, restoration: Restoration, outcome: dict[str, Any]) -> None:
        """The deciding transaction. Whatever is raised in here undoes all of it."""
        with restoration.decision() as connection:
            self._check_unchanged(restoration)
            for kind in KINDS:
                restoration.write(kind)
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
            self.catalog.decide(connection, self.operation_id, outcome, self._replacements())
            placed = self.storage.place(self.operation_id)
            if placed != outcome["files"]["placed"]:
                raise StorageError(
                    f"Only {placed:,} of {outcome['files']['placed']:,} staged files are still "
                    "there: nothing was restored. Start again."
                )
            self.storage.flush()
            self.progress.check()

    def _was_decided(self) -> bool:
        """An error in the commit does not tell whether it has happened: the database does."""
        try:
            return self.catalog.decided(self.operation_id)
        except DatabaseError as error:
            raise DatabaseError(
                "The database went away while the restore was being decided. The next operation, "
                "or the next start of the host, finds out which it was and finishes the restore "
                "or takes it back, wholly."
            ) from error

    def _check_unchanged(self, restoration: Restoration) -> None:
        """Work out each action again, now that nobody else can write."""
        faults = _Faults()
        for kind in KINDS:
            planned = self.plan.records(kind)
            for plan, found in zip(planned, restoration.compare(kind), strict=True):
                if (found.state, found.differs, found.hidden) != (
                    plan.comparison.state,
                    plan.comparison.differs,
                    plan.comparison.hidden,
                ):
                    was, is_now = plan.comparison.state, found.state
                    message = (
                        "it differs otherwise than planned"
                        if was == is_now
                        else f"it was planned as {was} and is {is_now} now"
                    )
                    faults.add(Fault("changed", message, record=kind.label(found.key)))
                self.progress.advance(items=1)
        for file_type in FILE_TYPES:
            for planned_file in self.plan.files(file_type):
                file = planned_file.file
                stored = self.storage.stat(file)
                if (None if stored is None else stored.tag) != planned_file.tag:
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

    def _replacements(self) -> Iterator[Replacement]:
        for file_type in FILE_TYPES:
            releases = self.reader.records(RELEASES)
            for planned in self.plan.files(file_type, "replace"):
                record = next(record for n, record in releases if n == planned.n)
                yield Replacement(planned.file, record, str(planned.tag))

    def _outcome(self) -> dict[str, Any]:
        records = {}
        packages: set[str] = set()
        users: list[str] = []
        credentials: list[str] = []
        for kind in KINDS:
            counts = self.plan.counts(kind)
            overwritten = 0
            for record in self.plan.written(kind):
                overwritten += record.action == "overwrite"
                if kind in (PACKAGES, RELEASES, OWNERS):
                    packages.add(record.comparison.key[0])
                if kind is USERS:
                    users.append(record.comparison.key[0])
                    if record.action == "overwrite" and _CREDENTIALS & {*record.comparison.differs}:
                        credentials.append(record.comparison.key[0])
            records[kind.name] = {
                "created": counts["create"],
                "overwritten": overwritten,
                "unchanged": counts["unchanged"],
                "skipped": counts["conflict"] - overwritten,
                "left_out": counts["blocked"],
            }
        files = {"placed": 0, "replaced": 0, "bytes": 0}
        for file_type in FILE_TYPES:
            files["bytes"] += self.plan.file_bytes(file_type)
            for planned in self.plan.files(file_type, "place", "replace"):
                files["placed" if planned.action == "place" else "replaced"] += 1
                packages.add(planned.file.package)
        return {
            "records": records,
            "files": files,
            "changed": {
                "packages": sorted(packages),
                "users": sorted(users),
                "credentials": sorted(credentials),
            },
        }


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
