"""What is left of operations that are over: uploads, plans, undo sets, kept events, rows."""

from __future__ import annotations

from datetime import timedelta

from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.storage.base import Storage

#: How long an archive that was uploaded stays for another look.
UPLOADS_STAY = timedelta(days=1)


def remove_remains(
    catalog: Catalog, directory: BackupDirectory, storage: Storage, retention_days: int
) -> int:
    """Remove uploads that are a day old, with their plans, and all of the operations that ended
    before the retention, with their undo sets. Gives how many operations that were."""
    now = utc_now()
    for upload in directory.remove_uploads(now - UPLOADS_STAY):
        for name in catalog.plans_of(str(upload)):
            directory.remove_plan(name)
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
