"""Undo: bring back what a restore replaced and remove what it created, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hexhub_backup.archive.credentials import is_credential
from hexhub_backup.archive.records import KINDS, RELEASES, USERS, Kind, Record
from hexhub_backup.errors import Fault, RightsError
from hexhub_backup.operations.catalog import Catalog, JournalEntry
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.placing import (
    finish_or_leave,
    forget_undone,
    give_up,
    was_decided,
)
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.rights import lost, nobody_left
from hexhub_backup.operations.undo_set import LeftFile, Look, UndoSet
from hexhub_backup.registry.base import Action, Registry, Undoing
from hexhub_backup.storage.base import Storage

STEPS = ("stage_files", "stage_records", "decide", "place_files")

_BATCH = 1000
#: An error lists so many faults.
_LISTED = 100
_CHANGED = Look(code="changed_since", message="its {} file changed since the restore")


def undo(
    *,
    operation_id: str,
    undone: str,
    undo_set: Path,
    changed: Path,
    actor: str,
    granted: bool,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
    progress: Progress,
) -> dict[str, Any]:
    """Take back the restore `undone`, whose undo set is in `undo_set`, and leave in `changed` the
    names of what it changed.

    What others changed since, and rows that other rows refer to by now, stay and are warned of;
    so does the account of `actor`. A release is undone with its files, or stays with them; a file
    is known by its content where its tag is another. An account without a TOTP secret keeps its
    second factor off.
    Accounts that hold a protected right, now or before the restore, change only where `granted`.

    The outcome is `records` (per kind `removed`, `brought_back` and `left`), `files` (`removed`,
    `brought_back`), and `changed`, as of a restore. Raises RightsError for what was
    not granted, SpaceError, StorageError, DatabaseError, OSError: in each case nothing was undone.
    """
    with closing(UndoSet(undo_set)) as found:
        return _Undo(
            operation_id=operation_id,
            undone=undone,
            undo_set=found,
            path=undo_set,
            changed=changed,
            actor=actor,
            granted=granted,
            registry=registry,
            storage=storage,
            catalog=catalog,
            progress=progress,
        ).run()


@dataclass(kw_only=True)
class _Undo:
    operation_id: str
    undone: str
    undo_set: UndoSet
    path: Path
    changed: Path
    actor: str
    granted: bool
    registry: Registry
    storage: Storage
    catalog: Catalog
    progress: Progress
    #: Accounts whose change has to be granted: the first of them, and how many there are.
    privileged: list[Fault] = field(default_factory=list)
    privileged_count: int = 0

    def run(self) -> dict[str, Any]:
        progress, found = self.progress, self.undo_set
        count = sum(map(found.count, KINDS))
        progress.expect({"stage_records": (0, count), "decide": (0, count)})
        outcome: dict[str, Any] = {"undone": self.undone}
        deciding = False
        try:
            with progress.step("stage_files"):
                for left in found.files():
                    found.add_look(left, self._look(left))
                    progress.check()
                self.storage.flush()
            with self.registry.undoing(
                protected=found.about["protected"], actor=self.actor
            ) as undoing:
                with progress.step("stage_records"):
                    for kind in KINDS:
                        undoing.left.stage(kind, self._counted(kind))
                        undoing.before.stage(
                            kind, ((n, record, "overwrite") for n, record in found.before(kind))
                        )
                deciding = True
                with progress.held(), progress.step("decide"):
                    self._decide(undoing, outcome)
        except BaseException:
            if not (deciding and was_decided(self.operation_id, self.catalog)):
                give_up(self.operation_id, self.storage, None, self.changed)
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
                verb="undo",
            )
            forget_undone(self.undone, self.storage, self.path)
        return outcome

    def _counted(self, kind: Kind) -> Iterator[tuple[int, Record, Action]]:
        for row in self.undo_set.left(kind):
            yield row
            self.progress.advance(items=1)

    def _decide(self, undoing: Undoing, outcome: dict[str, Any]) -> None:
        """The deciding transaction. Whatever is raised in here undoes all of it."""
        with undoing.decision() as connection:
            held = undoing.left.rights()
            for kind in KINDS:
                self._spare(undoing, kind, self._changed(undoing, kind))
            self._spare(undoing, RELEASES, self._changed_files())
            removed = undoing.remove()
            for kind in KINDS:
                self._spare(undoing, kind, self._blocked(undoing, kind))
                undoing.before.write(kind)
            if not removed and not undoing.remove():
                for kind in KINDS:
                    self._spare(undoing, kind, self._referred(undoing, kind))
            self._check_rights(lost(held, undoing.left.rights()))
            with closing(ChangedNames(self.changed)) as names:
                outcome.update(self._outcome(names))
            outcome["warnings"] = [warning.as_json() for warning in self.progress.warnings]
            outcome["warning_count"] = self.progress.warning_count
            self.catalog.decide(connection, self.operation_id, outcome, self._journal())
            self.progress.check()

    def _spare(
        self, undoing: Undoing, kind: Kind, numbers: Iterator[int], *, gone: bool = False
    ) -> None:
        while batch := list(islice(numbers, _BATCH)):
            undoing.spare(kind, batch)
            self.undo_set.spare(kind, batch, gone=gone)

    def _look(self, left: LeftFile) -> Look:
        """See what became of a file that the restore stored, and stage what was kept for it. What
        has to be read is read here: during the decision nobody else can write."""
        tag = self.storage.known(left.file, left.tag)
        if tag is None and left.action == "place" and self.storage.size(left.file) is None:
            return Look()
        if tag is None:
            return _CHANGED
        if left.action == "replace" and not self.storage.stage_kept(
            self.operation_id, left.file, self.undone, left.kept
        ):
            return Look(code="not_kept", message="the {} file that it had before is not there")
        return Look(tag)

    def _changed_files(self) -> Iterator[int]:
        """The releases of which a file is not as the restore left it, or could not be kept."""
        for left, look in self.undo_set.looks():
            file = left.file
            if look.tag is not None:
                as_seen = self.storage.known(file, look.tag, by_content=False) is not None
            else:
                as_seen = look.code is None and self.storage.size(file) is None
            if as_seen:
                continue
            found = _CHANGED if look.code is None else look
            self.progress.warn(
                str(found.code),
                f"{str(found.message).format(file.type)}: it stays as it is, row and files",
                RELEASES.label((file.package, file.version)),
            )
            yield left.n

    def _changed(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        """What is not as the restore left it, or could not be kept."""
        gone_already: list[int] = []
        rows = self.undo_set.left(kind)
        n, did = -1, ""
        for found in undoing.left.compare(kind, blocking=False):
            self.progress.advance(items=1)
            while n != found.n:
                n, _, did = next(rows)
            gone = found.state == "create"
            label = kind.label(found.key)
            if found.own:
                self.progress.warn(
                    "own_account", "it is the account that undoes, and stays as it is", label
                )
            elif gone and did == "overwrite":
                self.progress.warn("changed_since", "it was removed since: it stays so", label)
            elif not gone and found.differs:
                fields = ", ".join(found.differs)
                message = f"its {fields} changed since the restore: it stays as it is"
                self.progress.warn("changed_since", message, label)
            elif not gone and found.holds and not self.undo_set.about["protected"]:
                message = "it holds a protected right, which the restore did not give: it stays"
                self.progress.warn("changed_since", message, label)
            elif gone:
                gone_already.append(found.n)
                continue
            else:
                if did == "create" and found.holds:
                    self._needs_grant(label, "it holds a protected right, and would be removed")
                continue
                continue
            yield found.n
        # Their files are still there, it may be: they go.
        self._spare(undoing, kind, iter(gone_already), gone=True)
        for n, record in self.undo_set.not_kept(kind):
            message = "what it was before could not be kept: it stays as it is"
            self.progress.warn("not_kept", message, kind.label(kind.key_of(record)))
            yield n

    def _referred(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        for n, key in undoing.referred(kind):
            message = "other rows refer to it by now: it stays"
            self.progress.warn("referred_to", message, kind.label(key))
            yield n

    def _blocked(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        for found in undoing.before.compare(kind):
            if self.undo_set.is_spared(kind, found.n):
                continue
            label = kind.label(found.key)
            if found.state == "blocked":
                self.progress.warn("blocked", str(found.reason), label)
                yield found.n
            elif found.privileged:
                when = "now" if found.holds else "before the restore"
                self._needs_grant(
                    label, f"it holds a protected right {when}, and would be replaced"
                )

    def _needs_grant(self, label: str, message: str) -> None:
        self.privileged_count += 1
        if len(self.privileged) < _LISTED:
            self.privileged.append(Fault("not_granted", message, record=label))

    def _check_rights(self, gone: list[str]) -> None:
        """An undo gives nobody rights or credentials, and takes none, that is not granted."""
        if self.granted:
            for each in gone:
                self.progress.warn("no_right_left", nobody_left(each))
            return
        changes = f"would change accounts that hold a protected right ({self.privileged_count:,})"
        found = [changes] if self.privileged_count else []
        if gone:
            found.append(f"nobody who is active would hold {', '.join(gone)} any more")
        if found:
            raise RightsError(
                f"The undo {', and '.join(found)}: nothing was undone. If that is meant, let "
                "administrator rights in: a box where undo asks, or --grant-protected.",
                self.privileged,
            )

    def _journal(self) -> Iterator[JournalEntry]:
        for left, tag in self.undo_set.undone_files():
            record = self.undo_set.decided(left.n)
            action: Literal["remove", "replace"] = "remove" if left.action == "place" else "replace"
            yield JournalEntry(left.file, action, tag, record)

    def _outcome(self, names: ChangedNames) -> dict[str, Any]:
        records: dict[str, dict[str, int]] = {}
        for kind in KINDS:
            done = {"removed": 0, "brought_back": 0}
            names.add("users" if kind is USERS else "packages", self._undone(kind, done))
            records[kind.name] = {**done, "left": self.undo_set.count(kind) - sum(done.values())}
        names.add(
            "credentials",
            (
                USERS.key_of(left)[0]
                for _, _, left, before in self.undo_set.undone(USERS)
                if before
                and any(left.get(name) != before[name] for name in filter(is_credential, before))
            ),
        )
        files = {"removed": 0, "brought_back": 0}
        for left, _ in self.undo_set.undone_files():
            files["removed" if left.action == "place" else "brought_back"] += 1
        names.add("packages", (left.file.package for left, _ in self.undo_set.undone_files()))
        return {"records": records, "files": files, "changed": names.complete()}

    def _undone(self, kind: Kind, done: dict[str, int]) -> Iterator[str]:
        """The names of what is undone; counts in `done` what is done with it."""
        for _, action, left, _ in self.undo_set.undone(kind):
            done["removed" if action == "create" else "brought_back"] += 1
            yield kind.key_of(left)[0]
