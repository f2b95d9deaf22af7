"""What comes after a decision, or in the place of one: in the run and in recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from hexhub_backup.archive.records import RELEASES, FileType
from hexhub_backup.errors import BackupError, DatabaseError, InterruptedOperationError
from hexhub_backup.operations.catalog import Catalog, JournalEntry
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import Storage

#: Tells a warning: its code, message and record.
Warn = Callable[[str, str, str], None]

# Entries of a journal at a time.
_BATCH = 500


def give_up(operation_id: str, storage: Storage, *files: Path) -> None:
    """Without a decision: take back what was linked, the staging area, and the operation's own
    `files`, such as its undo set. Twice is as once."""
    storage.take_back(operation_id)
    storage.flush()
    storage.clear(operation_id)
    storage.forget(operation_id)
    for file in files:
        file.unlink(missing_ok=True)


def was_decided(operation_id: str, catalog: Catalog) -> bool:
    """An error in the commit does not tell whether it has happened: the database does."""
    try:
        return catalog.decided(operation_id)
    except DatabaseError as error:
        raise DatabaseError(
            "The database went away while it was being decided. The next operation, or the next "
            "start of the host, finds out which it was and finishes it or takes it back, wholly."
        ) from error


def finish_or_leave(
    operation_id: str,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
    warn: Warn,
    *,
    verb: str,
) -> None:
    """`finish`, in the run itself. Raises InterruptedOperationError where recovery has to."""
    try:
        finish(operation_id, registry, storage, catalog, warn)
    except (BackupError, OSError) as error:
        raise InterruptedOperationError(
            f"The {verb} has happened, but not all of its files could be put into place ({error}): "
            "mend that. The next operation, or the next start of the host, goes on with it."
        ) from error


def finish(
    operation_id: str, registry: Registry, storage: Storage, catalog: Catalog, warn: Warn
) -> None:
    """With a decision: replace and remove files as its journal says, each only where the row and
    the stored file still are what they were then. Twice is as once. Raises DatabaseError,
    OSError."""
    journal = catalog.journal(operation_id)
    # A batch is read before the restoration takes its connection: the host's pool may have no
    # second one.
    while entries := list(islice(journal, _BATCH)):
        for file_type, label in _place(operation_id, entries, registry, storage):
            warn(
                "file_changed",
                f"the host changed it meanwhile, so that its {file_type} file was left as it is",
                label,
            )
    storage.flush()
    catalog.close_journal(operation_id)
    storage.clear(operation_id)


def _place(
    operation_id: str, entries: Sequence[JournalEntry], registry: Registry, storage: Storage
) -> list[tuple[FileType, str]]:
    """Do what some entries say; gives the type and the release of each file that was left."""
    left = []
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        restoration.stage(
            RELEASES,
            (
                (n, entry.record or _key_only(entry.file.package, entry.file.version), None)
                for n, entry in enumerate(entries)
            ),
        )
        for entry, row in zip(entries, restoration.compare(RELEASES, blocking=False), strict=True):
            if entry.action == "remove":
                # The file is the restore's own, whatever became of the row.
                done = storage.remove(entry.file, entry.tag)
            else:
                gone = row.state == "create"
                # A row that the host hides is as it was decided, too.
                as_decided = gone if entry.record is None else not gone and not row.differs
                done = as_decided and storage.replace(operation_id, entry.file, entry.tag)
            if not done:
                left.append((entry.file.type, RELEASES.label(row.key)))
    return left


def forget_undone(undone: str, storage: Storage, undo_set: Path) -> None:
    """After an undo: what it was made from is not needed any more. Twice is as once."""
    storage.forget(undone, undone=True)
    undo_set.unlink(missing_ok=True)


def _key_only(package: str, version: str) -> dict[str, str]:
    return dict(zip(RELEASES.key, (package, version), strict=True))
