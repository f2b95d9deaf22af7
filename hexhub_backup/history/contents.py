"""The contents of the backups, as far as they are listed."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from hexhub_backup.archive.private import DamagedError, OutdatedError
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import NotFoundError, VersionError
from hexhub_backup.history.lists import BackupFilter, list_backups
from hexhub_backup.history.models import Backup, ListedBackup
from hexhub_backup.history.store import Catalog
from hexhub_backup.operations.contents import Contents, Earlier

#: Of so many backups it is asked whether their contents are listed: a bucket is asked for each.
_LOOKED_AT = 20


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


def listed_contents(depot: Depot, backup: Backup | ListedBackup) -> Contents:
    """As `open_contents`. Raises NotFoundError where there are none."""
    contents = open_contents(depot, backup)
    if contents is None:
        raise NotFoundError(
            f"The contents of backup {backup.id} are not listed: verify it, and try again."
        )
    return contents


def open_listing(depot: Depot, operation: str) -> Contents:
    """The list of the registry that a comparison has made, to be closed. Raises NotFoundError."""
    kept = depot.kept("contents", operation)
    if not kept.exists():
        raise NotFoundError(f"There is no comparison {operation} any more: compare again.")
    return Contents(kept.here())


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


def compared(depot: Depot, backup: Backup) -> dict[str, Any]:
    """What came of comparing a backup with an earlier one, where its contents say so."""
    contents = open_contents(depot, backup)
    if contents is None:
        return {}
    with closing(contents):
        return contents.compared


def earlier_contents(
    catalog: Catalog, depot: Depot, before: Backup | None = None
) -> Earlier | None:
    """The contents of the newest backup of this registry that is earlier than another, or of all;
    to be closed. None where those of the latest are not listed. Raises OSError."""
    completed = BackupFilter(state="completed")
    for backup in list_backups(catalog.engine, completed, after=before, limit=_LOOKED_AT):
        if backup.foreign:
            continue
        try:
            contents = open_contents(depot, backup)
        except VersionError:
            continue
        if contents is not None:
            return Earlier(backup.id, contents)
    return None
