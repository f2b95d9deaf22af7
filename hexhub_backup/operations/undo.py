"""Undo: bring back what a restore replaced and remove what it created, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hexhub_backup.archive.faults import FaultList
from hexhub_backup.archive.records import KINDS, RELEASES, Kind, Record, ReleaseFile
from hexhub_backup.errors import ChangedError, Fault, RightsError
from hexhub_backup.marking import marked
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.commit_protocol import DECIDING_STEPS, Commit, forget_undone
from hexhub_backup.operations.decisions import Decisions
from hexhub_backup.operations.joining import joined
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.outcome import outcome_of_undo
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.rights import lost
from hexhub_backup.operations.undo_set import LeftFile, Look, UndoSet
from hexhub_backup.registry.base import Action, Registry, Undoing
from hexhub_backup.storage.base import Storage
from hexhub_backup.storage.many import in_order

STEPS = ("stage_files", "stage_records", *DECIDING_STEPS)

_BATCH = 1000
_CHANGED = Look(code="changed_since")


def undo(
    *,
    operation_id: str,
    undone: str,
    undo_set: KeptFile,
    changed: KeptFile,
    actor: str,
    granted: bool,
    registry: Registry,
    storage: Storage,
    decisions: Decisions,
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
    commit = Commit(
        operation=operation_id,
        verb="undo",
        registry=registry,
        storage=storage,
        decisions=decisions,
        progress=progress,
        changed=changed,
    )
    with closing(UndoSet(undo_set.here())) as restored:
        return _Undo(
            undone=undone,
            undo_set=restored,
            kept=undo_set,
            actor=actor,
            granted=granted,
            registry=registry,
            storage=storage,
            progress=progress,
            commit=commit,
        ).run()


@dataclass(kw_only=True)
class _Undo:
    undone: str
    undo_set: UndoSet
    kept: KeptFile
    actor: str
    granted: bool
    registry: Registry
    storage: Storage
    progress: Progress
    commit: Commit
    #: Accounts whose change has to be granted.
    privileged: FaultList = field(default_factory=FaultList)
    #: What is going to be undone, while no more is spared.
    outcome: dict[str, Any] | None = None

    def run(self) -> dict[str, Any]:
        """See `commit_protocol` for what is durable when."""
        count = sum(map(self.undo_set.count, KINDS))
        self.progress.expect({"stage_records": (0, count), "decide": (0, count)})
        with self.commit.or_give_up():
            with self.progress.step("stage_files"):
                self.undo_set.add_looks(self._looks())
                self.storage.flush()
            self._undo()
        with self.commit.finish() as outcome:
            forget_undone(self.undone, self.storage, self.kept)
        return outcome

    def _undo(self) -> None:
        """Stage the rows, and decide."""
        with self.registry.undoing(
            protected=self.undo_set.about["protected"], actor=self.actor
        ) as undoing:
            with self.progress.step("stage_records"):
                for kind in KINDS:
                    undoing.left.stage(kind, self._counted(kind))
                    before = self.undo_set.before(kind)
                    undoing.before.stage(kind, ((n, record, "overwrite") for n, record in before))
            with self.commit.decisions.staged(undoing.left.connection, self.undo_set.journal()):
                self._decide(undoing)

    def _counted(self, kind: Kind) -> Iterator[tuple[int, Record, Action]]:
        for row in self.undo_set.left(kind):
            yield row
            self.progress.advance(items=1)

    def _decide(self, undoing: Undoing) -> None:
        """The deciding transaction. Whatever is raised in here undoes all of it."""
        with self.commit.decision(lambda: self._look(undoing), undoing.decision()) as connection:
            held = undoing.left.rights()
            for kind in KINDS:
                self._spare(undoing, kind, self._changed(undoing, kind))
            self._spare(undoing, RELEASES, self._written_files())
            removed = undoing.remove()
            for kind in KINDS:
                self._spare(undoing, kind, self._blocked(undoing, kind))
                undoing.before.write(kind)
            if not removed and not undoing.remove():
                for kind in KINDS:
                    self._spare(undoing, kind, self._referred(undoing, kind))
            self._check_rights(lost(held, undoing.left.rights()))
            spared = self.undo_set.spared_releases()
            self.commit.decide(connection, self._sum_up(), spared)

    def _look(self, undoing: Undoing) -> None:
        """Leave what has changed by now, and sum up the rest: the fewer there are to be told while
        others wait."""
        for kind in KINDS:
            self._spare(undoing, kind, self._changed(undoing, kind))
        self._spare(undoing, RELEASES, self._lost_files())
        self._spare(undoing, RELEASES, self._written_files())
        # They are counted in the decision.
        self.privileged = FaultList()
        self._sum_up()

    def _sum_up(self) -> dict[str, Any]:
        """The outcome, with the names of what changes kept. Nothing where that was done, and no
        more is spared since."""
        if self.outcome is None:
            with closing(ChangedNames(self.commit.changed.here())) as names:
                self.outcome = {"undone": self.undone, **outcome_of_undo(self.undo_set, names)}
            self.commit.changed.keep()
        return self.outcome

    def _spare(
        self, undoing: Undoing, kind: Kind, numbers: Iterator[int], *, gone: bool = False
    ) -> None:
        while batch := list(islice(numbers, _BATCH)):
            undoing.spare(kind, batch)
            self.undo_set.spare(kind, batch, gone=gone)
            if self.outcome is not None:
                self.commit.changed.remove()
                self.outcome = None

    def _looks(self) -> Iterator[tuple[LeftFile, Look]]:
        for look in in_order(self._look_at, self.undo_set.files(), self.storage.at_once):
            yield look
            self.progress.check()

    def _look_at(self, left: LeftFile) -> tuple[LeftFile, Look]:
        return left, self._seen(left)

    def _seen(self, left: LeftFile) -> Look:
        """See what became of a file that the restore stored, and stage what was kept for it. What
        has to be read is read here: during the decision nobody else can write."""
        tag = self.storage.known(left.file, left.tag)
        if tag is None and left.action == "place" and self._is_gone(left.file):
            return Look()
        if tag is None:
            return _CHANGED
        if left.action == "replace" and not self.storage.stage_kept(
            self.commit.operation, left.file, self.undone, left.kept
        ):
            return Look(code="not_kept")
        return Look(tag)

    def _lost_files(self) -> Iterator[int]:
        """The releases of which a file was not as the restore left it, or could not be kept."""
        for n, file, code in self.undo_set.lost():
            yield self._left(n, file, code)

    def _written_files(self) -> Iterator[int]:
        """The releases of which a file is not what it was seen as."""
        seen = self.undo_set.seen()
        for n, file, is_same in in_order(self._is_as_seen, seen, self.storage.at_once):
            if not is_same:
                yield self._left(n, file, "changed_since")

    def _is_as_seen(
        self, seen: tuple[int, ReleaseFile, str | None]
    ) -> tuple[int, ReleaseFile, bool]:
        n, file, tag = seen
        if tag is None:
            return n, file, self._is_gone(file)
        return n, file, self.storage.known(file, tag, by_content=False) is not None

    def _is_gone(self, file: ReleaseFile) -> bool:
        return next(iter(self.storage.sizes([file]))) is None

    def _left(self, n: int, file: ReleaseFile, code: str) -> int:
        self.progress.warn(notice(code, file.label, "file", file_type=file.type))
        return n

    def _changed(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        """What is not as the restore left it, or could not be kept, and was not spared yet."""
        gone_already: list[int] = []
        found = undoing.left.compare(kind, blocking=False, skip_same=True)
        compared = ((now.n, now) for now in found if not self.undo_set.is_spared(kind, now.n))
        actions = self.undo_set.actions(kind)
        for now, did in joined(
            compared, actions, lambda lost: _not_in_undo_set(kind.label(lost.key))
        ):
            gone = now.state == "create"
            label = kind.label(now.key)
            if now.own:
                self.progress.warn(notice("own_account", label, "undoes"))
            elif gone and did == "overwrite":
                self.progress.warn(notice("changed_since", label, "removed"))
            elif not gone and now.differs:
                fields = ", ".join(now.differs)
                self.progress.warn(notice("changed_since", label, "fields", fields=fields))
            elif not gone and now.holds and not self.undo_set.about["protected"]:
                self.progress.warn(notice("changed_since", label, "right"))
            elif gone:
                gone_already.append(now.n)
                continue
            else:
                if did == "create" and now.holds:
                    self._needs_grant(
                        label, marked("it holds a protected right, and would be removed")
                    )
                continue
            yield now.n
        # Their files are still there, it may be: they go.
        self._spare(undoing, kind, iter(gone_already), gone=True)
        for n, record in self.undo_set.not_kept(kind):
            if self.undo_set.is_spared(kind, n):
                continue
            self.progress.warn(notice("not_kept", kind.label(kind.key_of(record)), "record"))
            yield n

    def _referred(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        for n, key in undoing.referred(kind):
            self.progress.warn(notice("referred_to", kind.label(key), "rows"))
            yield n

    def _blocked(self, undoing: Undoing, kind: Kind) -> Iterator[int]:
        for now in undoing.before.compare(kind):
            if self.undo_set.is_spared(kind, now.n):
                continue
            label = kind.label(now.key)
            if now.state == "blocked":
                self.progress.warn(Notice("blocked", str(now.reason), label))
                yield now.n
            elif now.privileged:
                message = marked(
                    "it holds a protected right now, and would be replaced"
                    if now.holds
                    else "it held a protected right before the restore, and would be replaced"
                )
                self._needs_grant(label, message)

    def _needs_grant(self, label: str, message: str) -> None:
        self.privileged.add(Fault("not_granted", message, record=label))

    def _check_rights(self, gone: list[str]) -> None:
        """An undo gives nobody rights or credentials, and takes none, that is not granted."""
        if self.granted:
            for each in gone:
                self.progress.warn(notice("no_right_left", None, "lost", field=each))
            return
        accounts, rights = self.privileged.count, ", ".join(gone)
        if not (accounts or gone):
            return
        if not gone:
            what = marked(
                f"The undo would change accounts that hold a protected right ({accounts:,}): "
                "nothing was undone."
            )
        elif not accounts:
            what = marked(
                f"Nobody who is active would hold {rights} any more after the undo: nothing was "
                "undone."
            )
        else:
            what = marked(
                f"The undo would change accounts that hold a protected right ({accounts:,}), and "
                f"nobody who is active would hold {rights} any more: nothing was undone."
            )
        raise RightsError(
            f"{what} If that is meant, let administrator rights in: a box where undo asks, or "
            "--grant-protected.",
            self.privileged.first,
        )


def _not_in_undo_set(label: str) -> ChangedError:
    return ChangedError(
        f"{label} was staged, and is not in the undo set: nothing was undone. The set is damaged, "
        "so that this restore can't be undone any more."
    )
