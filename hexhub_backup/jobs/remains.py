"""What is left of operations that are over: uploads, plans, undo sets, kept events, rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.storage.base import Storage

#: How long an archive that was uploaded stays for another look.
UPLOADS_STAY = timedelta(days=1)


def remove_day_old(catalog: Catalog, directory: BackupDirectory) -> None:
    """Remove uploads that are a day old, and plans of uploads that are gone: all hold password
    hashes."""
    directory.remove_uploads(utc_now(), UPLOADS_STAY)
    for plan in directory.plans():
        try:
            archive = Path(catalog.operation(plan).options["archive"])
        except (NotFoundError, KeyError):
            continue
        if directory.is_upload(archive) and not archive.exists():
            directory.remove_plan(plan)


def remove_remains(
    catalog: Catalog, directory: BackupDirectory, storage: Storage, retention_days: int
) -> int:
    """Remove what is a day old, and all of the operations that ended before the retention, with
    their undo sets. Gives how many operations that were."""
    remove_day_old(catalog, directory)
    now = utc_now()
    old = catalog.old_operations(now - timedelta(days=retention_days))
    for name in old:
        directory.remove_operation(name)
        storage.forget(name)
        catalog.delete_operation(name)
    # Of a database that was lost, nothing can be undone.
    for name in {*directory.undo_sets(), *storage.kept()}:
        if not catalog.has_operation(name):
            directory.undo_set(name).unlink(missing_ok=True)
            storage.forget(name)
    return len(old)
