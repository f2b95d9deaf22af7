"""What comes after a decision, or in the place of one: in the run and in recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hexhub_backup.archive.records import RELEASES
from hexhub_backup.errors import BackupError, DatabaseError, InterruptedOperationError, Warning_
from hexhub_backup.operations.catalog import Catalog, JournalEntry
from hexhub_backup.operations.progress import LISTED_WARNINGS
from hexhub_backup.operations.undo_set import placed_by
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import Storage

#: Tells a warning: its code, message and record.
Warn = Callable[[str, str, str], None]

# Entries of a journal at a time.
_BATCH = 500


def give_up(operation_id: str, storage: Storage, undo_set: Path | None, changed: Path) -> None:
    """Without a decision: take back what was placed, the staging area, and the operation's own
    files; an undo has no undo set. Twice is as once."""
    storage.take_back(operation_id, () if undo_set is None else placed_by(undo_set))
    storage.flush()
    storage.clear(operation_id)
    storage.forget(operation_id)
    # The set is what tells what was placed: it goes last.
    for file in (changed, undo_set):
        if file is not None:
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
    *,
    warn: Warn,
    outcome: dict[str, Any],
    verb: str,
) -> None:
    """`finish`, in the run itself. Raises InterruptedOperationError where recovery has to."""
    try:
        finish(operation_id, registry, storage, catalog, warn=warn, outcome=outcome)
    except (BackupError, OSError) as error:
        raise InterruptedOperationError(
            f"The {verb} has happened, but not all of its files could be put into place ({error}): "
            "mend that. The next operation, or the next start of the host, goes on with it."
        ) from error


def finish(
    operation_id: str,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
    *,
    warn: Warn,
    outcome: dict[str, Any],
) -> None:
    """With a decision: replace and remove files as its journal says, each only where the row and
    the stored file still are what they were then. What is left is warned of, and the `outcome`,
    here and in the history, does not count it any more. Twice is as once. Raises DatabaseError,
    OSError."""
    journal = catalog.journal(operation_id)
    left = 0
    # A batch is read before the restoration takes its connection: the host's pool may have no
    # second one.
    while entries := list(islice(journal, _BATCH)):
        for entry in _place(operation_id, entries, registry, storage):
            file, left = entry.file, left + 1
            message = (
                f"the host changed it meanwhile, so that its {file.type} file was left as it is"
            )
            label = RELEASES.label((file.package, file.version))
            warn("file_changed", message, label)
            warning = Warning_("file_changed", message, label)
            _discount(outcome, entry, storage.staged_size(operation_id, file) or 0, warning)
    storage.flush()
    catalog.close_journal(operation_id, outcome if left else None)
    storage.clear(operation_id)


def _place(
    operation_id: str, entries: Sequence[JournalEntry], registry: Registry, storage: Storage
) -> list[JournalEntry]:
    """Do what some entries say; gives those whose file was left."""
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
            gone = row.state == "create"
            # A row that the host hides is as it was decided, too. Where it is another, the file
            # may be what the host has stored for it, whatever it holds.
            done = gone if entry.record is None else not gone and not row.differs
            if done and entry.action == "remove":
                done = storage.remove(entry.file, entry.tag)
            elif done:
                done = storage.replace(operation_id, entry.file, entry.tag)
            if not done:
                left.append(entry)
    return left


def _discount(outcome: dict[str, Any], entry: JournalEntry, size: int, warning: Warning_) -> None:
    """What is counted has happened: take a file that was left out of an outcome."""
    files = outcome["files"]
    done = "removed" if entry.action == "remove" else "replaced"
    files[done if done in files else "brought_back"] -= 1
    if "bytes" in files:
        files["bytes"] -= size
    outcome["warning_count"] += 1
    if len(outcome["warnings"]) < LISTED_WARNINGS:
        outcome["warnings"].append(warning.as_json())


def forget_undone(undone: str, storage: Storage, undo_set: Path) -> None:
    """After an undo: what it was made from is not needed any more. Twice is as once."""
    storage.forget(undone, undone=True)
    undo_set.unlink(missing_ok=True)


def _key_only(package: str, version: str) -> dict[str, str]:
    return dict(zip(RELEASES.key, (package, version), strict=True))
