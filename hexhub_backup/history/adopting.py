"""Adoption: the row of an archive that has none, because its database was lost."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hexhub_backup.archive.reading.last_member import read_manifest
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.rules.manifest import Manifest
from hexhub_backup.archive.source import Source
from hexhub_backup.depot.base import Depot
from hexhub_backup.depot.names import RESERVED_IDS
from hexhub_backup.errors import ArchiveError, BackupError, BusyError
from hexhub_backup.history.models import Backup
from hexhub_backup.history.store import Catalog, utc_now

_log = logging.getLogger("hexhub_backup")

#: A file that was last written so lately may still be written.
_SETTLES = timedelta(minutes=1)


def without_row(catalog: Catalog, depot: Depot) -> set[str]:
    """The backups whose archive is there and has no row. Raises DatabaseError."""
    archives = set(depot.archives())
    return archives - catalog.backup_ids() if archives else archives


def may_grow(depot: Depot, backup_id: str) -> bool:
    """Whether an archive was written to a moment ago, as one that is still being copied."""
    try:
        return utc_now() - _time(depot.stat(depot.archive_name(backup_id)).modified) < _SETTLES
    except OSError:
        return False


def adopt(catalog: Catalog, depot: Depot) -> None:
    """Add the rows of archives that have none. Raises DatabaseError."""
    for backup_id in sorted(without_row(catalog, depot)):
        try:
            catalog.add_backup(described(depot, backup_id))
        except BusyError as error:
            _log.info("%s is not adopted yet: %s", depot.archive_name(backup_id), error)
        except (BackupError, OSError) as error:
            _log.error("%s is not adopted: %s", depot.archive_name(backup_id), error)

    for name in depot.misnamed():
        _log.error(
            "%s in %s is not adopted: rename it to hexhub-backup-ID.tar, where ID has up to "
            "40 letters (A to Z), digits and '-', begins with no '-', and is none of %s",
            name.encode(errors="backslashreplace").decode(),
            depot.location,
            ", ".join(sorted(RESERVED_IDS)),
        )


def described(depot: Depot, backup_id: str) -> Backup:
    """A row from what an archive itself says. Its files are not read: that is `verify`. Raises
    SpaceError, OSError; BusyError where it looks as if it was still being copied there."""
    name = depot.archive_name(backup_id)
    size, modified = depot.stat(name)
    now = utc_now()
    backup = Backup(
        id=backup_id,
        state="completed",
        created_at=_time(modified),
        created_by="unknown",
        size_bytes=size,
        adopted_at=now,
    )
    try:
        with depot.work() as folder, depot.source(name) as source:
            manifest = _manifest(source, Path(folder, "index"))
    except ArchiveError as error:
        if may_grow(depot, backup_id):
            raise BusyError(f"It may still be written: {error}") from error
        return dataclasses.replace(backup, reason=str(error), verified_at=now, intact=False)
    return dataclasses.replace(backup, created_by=manifest.created_by, manifest=manifest.as_json())


def _manifest(source: Source, index: Path) -> Manifest:
    """The manifest of an archive whose structure is right; of one that is far away, which would
    have to be asked for each of its files, only the manifest. Raises ArchiveError."""
    if not source.near:
        return read_manifest(source.read, source.size)
    with ArchiveReader(source, index) as reader:
        reader.read_members(lambda _: None, hash_files=False)
        return reader.check_manifest()


def _time(modified: float) -> datetime:
    """A file's time; now where it is beyond all that a database can hold."""
    try:
        return min(datetime.fromtimestamp(modified, timezone.utc), utc_now())
    except (ValueError, OverflowError, OSError):
        return utc_now()
