"""The contents of the backups, as far as they are listed."""

from __future__ import annotations

from hexhub_backup.archive.private import DamagedError, OutdatedError
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import VersionError
from hexhub_backup.history.models import Backup, ListedBackup
from hexhub_backup.history.store import Catalog
from hexhub_backup.operations.contents import Contents


def open_contents(depot: Depot, backup: Backup | ListedBackup) -> Contents | None:
    """What is in the archive of a backup, to be closed; None where that is not listed, or not to be
    read, or it is another archive's by now. Raises VersionError where a newer release has listed
    it, OSError."""
    kept = depot.kept("contents", backup.id)
    if not kept.exists():
        return None
    try:
        contents = Contents(kept.here())
    except (DamagedError, OutdatedError):
        return None
    if contents.is_of(backup.checksums or {}):
        return contents
    contents.close()
    return None


def has_contents(catalog: Catalog, depot: Depot, backup: str) -> bool:
    """Whether the contents of a backup are listed, by this release or a newer one. Raises OSError,
    NotFoundError."""
    try:
        contents = open_contents(depot, catalog.backup(backup))
    except VersionError:
        return True
    if contents is not None:
        contents.close()
    return contents is not None
