"""The backups that are kept: looked up, kept for ever, deleted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hexhub_backup import signals
from hexhub_backup.errors import BusyError, NotFoundError
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.models import Backup, ListedBackup, ListedOperation
from hexhub_backup.history.retention import expiry
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.events import read_events

B = TypeVar("B", Backup, ListedBackup)
#: So many backups are asked for at a time, where the first good ones are enough.
_FEW = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Who:
    """Who wants something, and from where: `address` is None on the command line."""

    actor: str
    address: str | None = None


class KeptBackups:
    """The backups and operations in the history, and the archives in the backup directory."""

    def __init__(self, catalog: Catalog, directory: BackupDirectory, retention_days: int) -> None:
        self.catalog = catalog
        self.directory = directory
        self._retention_days = retention_days

    def backup(self, backup: str) -> Backup:
        """Raises NotFoundError."""
        return self._with_file(self.catalog.backup(backup))

    def backups(self, *, offset: int = 0, limit: int | None = None) -> list[ListedBackup]:
        """The latest first."""
        return list(map(self._with_file, self.catalog.list_backups(offset=offset, limit=limit)))

    def good_backups(self) -> Iterator[ListedBackup]:
        """Those that a registry could be restored from, the latest first: read as they are
        asked for."""
        last: ListedBackup | None = None
        while page := self.catalog.list_backups(state="completed", after=last, limit=_FEW):
            yield from (backup for backup in map(self._with_file, page) if backup.good)
            last = page[-1]

    def _with_file(self, backup: B) -> B:
        missing = backup.state == "completed" and not self.directory.archive(backup.id).exists()
        return dataclasses.replace(backup, file_missing=missing)

    def operations(self, *, limit: int | None = None) -> list[ListedOperation]:
        """The latest first."""
        return self.catalog.list_operations(limit=limit)

    def events(self, operation: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """The kept events of an operation. Raises NotFoundError."""
        self.catalog.operation(operation)
        return read_events(self.directory.events(operation), after)

    def find(self, name: str) -> tuple[Path, str | None]:
        """The archive of a backup's id, or of a path, which is no backup of ours. Raises
        NotFoundError."""
        try:
            backup = self.backup(name)
        except NotFoundError:
            path = Path(name).absolute()
            if not path.is_file():
                raise NotFoundError(
                    f"There is no backup and no file {name}: look through the list of backups."
                ) from None
            return path, None
        if backup.state != "completed":
            raise NotFoundError(
                f"Backup {name} has no archive, because it is {backup.state}: {backup.reason}"
            )
        if backup.file_missing:
            raise NotFoundError(
                f"The file of backup {name} is missing: {self.directory.archive(name)} should be "
                "there. Put it back, or delete the backup."
            )
        return self.directory.archive(name), name

    def keep(self, backup: str, *, kept: bool = True) -> Backup:
        """Never let a backup expire, or let it again. Raises NotFoundError."""
        found = self.backup(backup)
        if found.kept is not kept:
            adopted_at = utc_now() if found.adopted else None
            let_go = expiry(found.created_at, self._retention_days, adopted_at=adopted_at)
            self.catalog.update_backup(backup, kept=kept, expires_at=None if kept else let_go)
        return self.backup(backup)

    def delete(self, app: Any, who: Who, backup: str, *, reason: str = "manual") -> None:
        """Delete a backup and its row. Raises NotFoundError, BusyError where it is in use."""
        if self.backup(backup).state == "running":
            raise BusyError(f"Backup {backup} is being created: cancel that first.")
        path = self.directory.archive(backup)
        with self._alone(path):
            if reason == "expired" and self.backup(backup).kept:
                raise BusyError(f"Backup {backup} is kept by now.")
            # The row goes last: a file without a row would be adopted.
            path.unlink(missing_ok=True)
            self.catalog.delete_backup(backup)
        signals.emit(
            signals.backup_deleted,
            app,
            backup=backup,
            actor=who.actor,
            address=who.address,
            reason=reason,
        )

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        if path.exists():
            with self.directory.using(path, alone=True):
                yield
        else:
            yield
