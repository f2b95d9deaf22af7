"""What is left of operations that are over: uploads, plans, undo sets, kept events, rows."""

from __future__ import annotations

from datetime import timedelta

from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.storage.base import Storage

#: How long an archive that was uploaded stays for another look.
UPLOADS_STAY = timedelta(days=1)


def remove_day_old(catalog: Catalog, depot: Depot) -> None:
    """Remove uploads that are a day old, and plans of uploads that are gone: all hold password
    hashes."""
    depot.remove_uploads(utc_now(), UPLOADS_STAY)
    for plan in depot.plans():
        try:
            archive = catalog.operation(plan).options["archive"]
        except (NotFoundError, KeyError):
            continue
        if depot.is_upload(archive) and not depot.is_there(archive):
            depot.kept("plan", plan).remove()


def remove_remains(
    catalog: Catalog, coordinator: Coordinator, depot: Depot, storage: Storage, days: int
) -> int:
    """Remove what is a day old, and all of the operations that ended so many `days` ago, with
    their undo sets. Gives how many operations that were."""
    remove_day_old(catalog, depot)
    now = utc_now()
    old = catalog.old_operations(now - timedelta(days=days))
    for name in old:
        coordinator.remove_log(name)
        coordinator.remove_wish(name)
        depot.remove_operation(name)
        # A list of the registry; that of a backup goes with the backup, which may have this name.
        if not catalog.has_backup(name):
            depot.kept("contents", name).remove()
        storage.forget(name)
        catalog.delete_operation(name)
    # Of a database that was lost, nothing can be undone.
    for name in {*depot.undo_sets(), *storage.kept()}:
        if not catalog.has_operation(name):
            depot.kept("undo_set", name).remove()
            storage.forget(name)
    return len(old)
