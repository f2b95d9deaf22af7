"""The files of a host whose depot is a directory, as nearly all of the tests have it."""

from __future__ import annotations

from hexhub_backup.coordination.directory import DirectoryCoordinator
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.errors import BusyError
from hexhub_backup.jobs.backups import Backups


def depot_of(backups: Backups) -> DirectoryDepot:
    assert isinstance(backups.depot, DirectoryDepot)
    return backups.depot


def coordinator_of(backups: Backups) -> DirectoryCoordinator:
    assert isinstance(backups.coordinator, DirectoryCoordinator)
    return backups.coordinator


def lock_is_free(backups: Backups) -> bool:
    """It goes a moment after the operation has ended, and is free before one has begun."""
    try:
        with exclusive(coordinator_of(backups).lock):
            return True
    except BusyError:
        return False
