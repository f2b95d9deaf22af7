"""The commit protocol of a restore and of an undo: all of it happens, or nothing does.

Rows are in a database, files in a storage, and the two share no transaction. So the database
decides: one row of it, `decided_at` of the operation, says whether the operation has happened. It
is committed together with the rows of the registry. Everything before that commit can be taken
back, and everything after it can be carried out again.

1. Stage. New files are written to the storage's staging area, those that are going to be replaced
   are kept by a second link, the records are loaded into temporary tables, and so is the *journal*:
   it lists each stored file that is to be replaced or removed, with its tag and the release as it
   is going to be decided. The host sees none of it but the folders of new files, which are empty.
   `Storage.flush` makes the files durable. A restore lists what it is going to write in its undo
   set, which is kept by then.
2. Place. Rows and stored files are compared: a difference from the plan ends a restore, and an undo
   leaves that record as it is. A restore links the files of new releases to places where there is
   none, and flushes them. The undo set lists all of them, and has been durable since 1. No row
   refers to them yet. A file that the host has stored there ends the restore, and stays.
3. Open the deciding transaction, in which nobody else writes to the registry, and compare again: a
   host that writes a row and its files in one transaction has done both by now, or neither. Others
   wait from here to 5, so that what can be done before or after is not done in between.
4. Write. The undo set gets what the rows to be overwritten hold, by a transaction of its own with
   a rollback journal, so that its list of placed files can be read whatever happens. The rows, the
   outcome, the decision and the journal, but for the releases that an undo spares, go into the
   transaction. The names of what changes are in a file of their own, which is kept by now. Files
   that are missing of releases that have a row are placed and flushed only now: others see them by
   their rows. Last, a restore looks at the files of all that it writes: the host may have stored
   others meanwhile.
5. Commit: this is the decision. An error of the commit leaves open whether it happened. Then the
   row is read back, and where even that fails, recovery reads it.
6. Finish. The journal is carried out: each file is replaced or removed where it and its release
   are still as they were decided. What the host has changed since stays, and is warned of. The
   storage is flushed, the journal closed, the staging area cleared. An undo forgets what it was
   made from.

Where a run fails, it does at once what recovery does for a process that died, and both call the
same two functions. Each can be run again from its start, wherever it stopped:

=====================  ====================================================================
the process died in    recovery
=====================  ====================================================================
1                      `give_up`: there is no decision. Clears the staging area, the folders of
                       new files, the files that were kept, the names and the undo set. An undo
                       set that is damaged was not synced, so that no file has been placed. After
                       a power loss some of the empty folders may stay.
2, 3, 4                `give_up`: first takes back each file that the undo set lists and that is
                       still the one that was placed; what the host has put or written there
                       stays. The undo set goes last.
5                      `Decisions.decided` waits for the transaction to end, and says which
                       of the two it was.
6, or after 5          `finish`: there is a decision. An entry that was carried out before is
                       recognised by its tags.
=====================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hexhub_backup.archive.records import RELEASES
from hexhub_backup.errors import BackupError, DatabaseError, InterruptedOperationError
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.decisions import Decisions, JournalEntry, patiently
from hexhub_backup.operations.joining import joined
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.progress import LISTED_WARNINGS, Progress
from hexhub_backup.operations.undo_set import placed_by
from hexhub_backup.registry.base import Comparison, Registry
from hexhub_backup.storage.base import Storage
from hexhub_backup.storage.many import in_order

#: The steps of every operation that decides, after its own.
DECIDING_STEPS = ("decide", "place_files")
#: Passes on a warning.
Warn = Callable[[Notice], None]

# Entries of a journal at a time. Their records may take megabytes, and what is removed was compared
# a moment before: the host may store a file again in between.
_BATCH = 500


@dataclass(kw_only=True)
class Commit:
    """One restore or undo on its way through the protocol: `or_give_up` around 1 to 5, in it
    `decision` around 2 to 5 with `decide` at the end of 4, then `finish` for 6."""

    #: The operation's id.
    operation: str
    #: What has happened, in messages.
    verb: str
    registry: Registry
    storage: Storage
    decisions: Decisions
    progress: Progress
    #: The names of what changes.
    changed: KeptFile
    #: The undo set that the operation makes; an undo makes none.
    undo_set: KeptFile | None = None
    #: What was decided; files that are left are taken from it.
    outcome: dict[str, Any] = field(default_factory=dict, init=False)
    _deciding: bool = field(default=False, init=False)

    @contextmanager
    def or_give_up(self) -> Iterator[None]:
        """Give up where what is inside fails, and pass its error on; nothing has happened then.

        An error after the decision was made is dropped: it came from the database's answer to
        the commit, and what was decided is true. Raises DatabaseError where that can't be asked.
        """
        try:
            yield
        except BaseException:
            if not (self._deciding and _was_decided(self.operation, self.decisions)):
                give_up(self.operation, self.storage, self.undo_set, self.changed)
                raise

    @contextmanager
    def decision(
        self, prepare: Callable[[], None], transaction: AbstractContextManager[Any]
    ) -> Iterator[Any]:
        """The step `decide`: `prepare`, for which nobody waits, then the registry's deciding
        transaction; yields its connection. An exception inside undoes all of it, a wish to stop
        at its end too."""
        with self.progress.step("decide"):
            prepare()
            self._deciding = True
            with self.progress.held(), transaction as connection:
                yield connection
                self.progress.check()

    def decide(self, connection: Any, outcome: dict[str, Any], spared: Iterable[int] = ()) -> None:
        """Write the decision into the transaction, and the journal that was staged without the
        releases that are `spared`. The outcome gets the warnings so far."""
        outcome["warnings"] = [warning.as_json() for warning in self.progress.warnings]
        outcome["warning_count"] = self.progress.warning_count
        self.outcome = outcome
        self.decisions.decide(connection, self.operation, outcome, spared)

    @contextmanager
    def finish(self) -> Iterator[dict[str, Any]]:
        """The step `place_files`: `finish`, then what is inside; yields the outcome. Raises
        InterruptedOperationError where recovery has to go on with it."""
        self.progress.decided()
        with self.progress.step("place_files"):
            try:
                finish(
                    self.operation,
                    self.registry,
                    self.storage,
                    self.decisions,
                    warn=self.progress.warn,
                    outcome=self.outcome,
                )
                yield self.outcome
            except (BackupError, OSError) as error:
                raise InterruptedOperationError(
                    f"The {self.verb} has happened, but not all of its files could be put into "
                    f"place or cleared away ({error}): fix that. The next operation, or the next "
                    "start of the host, goes on with it."
                ) from error


def give_up(
    operation_id: str, storage: Storage, undo_set: KeptFile | None, changed: KeptFile
) -> None:
    """Without a decision: take back what was placed, the staging area, and the operation's own
    files; an undo has no undo set. Idempotent. Raises OSError."""
    storage.take_back(operation_id, () if undo_set is None else placed_by(undo_set.here()))
    storage.flush()
    storage.clear(operation_id)
    storage.forget(operation_id)
    changed.remove()
    if undo_set is not None:
        # It lists what was placed: it goes last.
        undo_set.remove()


def _was_decided(operation_id: str, decisions: Decisions) -> bool:
    """Ask the database: an error of the commit does not say whether it has happened."""
    try:
        return patiently(lambda: decisions.decided(operation_id))
    except DatabaseError as error:
        raise DatabaseError(
            "The database went away while it was being decided. The next operation, or the next "
            "start of the host, finds out which it was and finishes it or takes it back, wholly."
        ) from error


def finish(
    operation_id: str,
    registry: Registry,
    storage: Storage,
    decisions: Decisions,
    *,
    warn: Warn,
    outcome: dict[str, Any],
) -> None:
    """With a decision: replace and remove files as its journal says, each only where the row and
    the stored file still are what they were then. What is left is warned of, and the `outcome`,
    here and in the history, does not count it any more. Idempotent. Raises DatabaseError,
    OSError."""
    journal = decisions.journal(operation_id)
    left = 0
    # A batch is read before the restoration takes its connection: the host's pool may have no
    # second one.
    while entries := list(islice(journal, _BATCH)):
        for entry in _place(operation_id, entries, registry, storage):
            file, left = entry.file, left + 1
            warning = notice("file_changed", file.label, "left", file_type=file.type)
            warn(warning)
            _discount(outcome, entry, storage.staged_size(operation_id, file) or 0, warning)
    storage.flush()
    decisions.close_journal(operation_id, outcome if left else None)
    storage.clear(operation_id)


def _numbered(entries: Iterable[JournalEntry]) -> Iterator[tuple[int, JournalEntry]]:
    """Each entry with a number of its release, which both files of one share if they follow each
    other."""
    n, before = 0, None
    for entry in entries:
        release = (*entry.file[1:], entry.record)
        n += release != before
        yield n, entry
        before = release


def _place(
    operation_id: str, entries: Sequence[JournalEntry], registry: Registry, storage: Storage
) -> list[JournalEntry]:
    """Carry out some entries. Returns those whose file was left as it is."""
    left = []
    going = []
    releases = [*_numbered(entries)]
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        restoration.stage(
            RELEASES,
            (
                (n, entry.record or _key_only(entry.file.package, entry.file.version), None)
                for n, entry in dict(releases).items()
            ),
        )
        compared = ((row.n, row) for row in restoration.compare(RELEASES, blocking=False))

        def replace(joint: tuple[JournalEntry, Comparison]) -> tuple[JournalEntry, bool]:
            entry, row = joint
            done = _is_as_decided(entry, row)
            if done and entry.action == "replace":
                done = storage.replace(operation_id, entry.file, entry.tag)
            return entry, done

        joint = joined(releases, compared, _not_compared)
        for entry, done in in_order(replace, joint, storage.at_once):
            if not done:
                left.append(entry)
            elif entry.action == "remove":
                going.append(entry)
    removed = storage.remove([(entry.file, entry.tag) for entry in going])
    return left + [entry for entry, done in zip(going, removed, strict=True) if not done]


def _is_as_decided(entry: JournalEntry, row: Comparison) -> bool:
    """Whether the row is as it was decided, though the host may hide it. Where it is another, the
    file may be what the host has stored for it, whatever it holds."""
    gone = row.state == "create"
    return gone if entry.record is None else not gone and not row.differs


def _not_compared(entry: JournalEntry) -> BackupError:
    label = entry.file.label
    return DatabaseError(f"{label} is in the journal, and was not compared with the registry.")


def _discount(outcome: dict[str, Any], entry: JournalEntry, size: int, warning: Notice) -> None:
    """What is counted has happened: take a file that was left out of an outcome."""
    files = outcome["files"]
    done = "removed" if entry.action == "remove" else "replaced"
    files[done if done in files else "brought_back"] -= 1
    if "bytes" in files:
        files["bytes"] -= size
    outcome["warning_count"] += 1
    if len(outcome["warnings"]) < LISTED_WARNINGS:
        outcome["warnings"].append(warning.as_json())


def forget_undone(undone: str, storage: Storage, undo_set: KeptFile) -> None:
    """After an undo: what it was made from is not needed any more. Idempotent."""
    storage.forget(undone, undone=True)
    undo_set.remove()


def _key_only(package: str, version: str) -> dict[str, str]:
    return dict(zip(RELEASES.key, (package, version), strict=True))
