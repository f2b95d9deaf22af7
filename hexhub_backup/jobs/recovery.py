"""What a dead process left behind: finished where it was decided, taken back where it was not."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.errors import ArchiveError, BackupError, InterruptedOperationError
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.jobs.runner import Stamp, ending
from hexhub_backup.operations.placing import finish, give_up
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import Storage

_DIED = InterruptedOperationError("The process that ran it ended without a word.")
_RECOVERED = "its process ended after it had happened, and recovery finished it"


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Puts right what is left of operations whose process is dead. Only under the lock."""

    catalog: Catalog
    directory: BackupDirectory
    registry: Registry
    storage: Storage
    retention_days: int

    def __call__(self, app: Any) -> None:
        """Twice is as once. Raises BackupError, OSError: then it is tried again next time."""
        self._finish_staged(app)
        for operation in self.catalog.running_operations():
            self._settle(app, operation)
        self.directory.remove_partials()
        self._adopt()

    def _finish_staged(self, app: Any) -> None:
        for operation_id in self.storage.staged():
            if not self.catalog.decided(operation_id):
                give_up(operation_id, self.storage)
                continue
            warnings: list[dict[str, Any]] = []

            def warn(code: str, message: str, record: str, to: list[Any] = warnings) -> None:
                to.append({"code": code, "message": message, "record": record})

            finish(operation_id, self.registry, self.storage, self.catalog, warn)
            operation = self.catalog.operation(operation_id)
            if operation.state != "completed":
                self._complete_restore(app, operation, warnings)

    def _settle(self, app: Any, operation: Operation) -> None:
        """Give an operation that is said to run its final state, unless it does run."""
        try:
            EventLog(self.directory.events(operation.id)).close()
        except BlockingIOError:
            return
        if operation.decided_at is not None:
            self._complete_restore(app, operation, [])
        elif operation.verb == "create" and self.directory.archive(operation.id).exists():
            self._complete_create(app, operation)
        else:
            if operation.verb in ("verify", "inspect"):
                self.directory.remove_plan(operation.id)
            self._end(app, operation, _DIED, operation.outcome, [])

    def _complete_restore(
        self, app: Any, operation: Operation, warnings: list[dict[str, Any]]
    ) -> None:
        outcome = operation.outcome or {}
        changed = outcome["changed"]
        signals.emit(
            signals.restore_completed,
            app,
            operation=operation.id,
            actor=operation.actor,
            address=operation.address,
            outcome=outcome,
            **changed,
        )
        self._end(app, operation, None, outcome, [*warnings, _recovered()])

    def _complete_create(self, app: Any, operation: Operation) -> None:
        """The archive is there, so that it had been checked and synced before it was named."""
        found = self._read(operation.id)
        outcome = {"manifest": found.manifest, "size_bytes": found.size_bytes}
        signals.emit(
            signals.backup_created,
            app,
            backup=operation.id,
            operation=operation.id,
            actor=operation.actor,
            address=operation.address,
            archive=str(self.directory.archive(operation.id)),
            **outcome,
        )
        self._end(app, operation, None, outcome, [_recovered()])

    def _end(
        self,
        app: Any,
        operation: Operation,
        error: BackupError | None,
        outcome: dict[str, Any] | None,
        warnings: list[dict[str, Any]],
    ) -> None:
        if outcome is not None:
            outcome = {
                **outcome,
                "operation": operation.id,
                "warnings": [*outcome.get("warnings", []), *warnings],
                "warning_count": outcome.get("warning_count", 0) + len(warnings),
            }
        log = EventLog(self.directory.events(operation.id))
        stamp = Stamp(log.last_seq)
        log.close()
        about = {"operation": operation.id, "verb": operation.verb}
        ended = {
            **ending(error),
            "outcome": outcome,
            "warning_count": 0 if outcome is None else outcome["warning_count"],
            "duration_seconds": None,
        }
        signals.emit(
            signals.operation_finished,
            app,
            **about,
            actor=operation.actor,
            address=operation.address,
            backup=operation.backup_id,
            **ended,
            event=stamp({"type": "result", **ended}),
        )

    def _adopt(self) -> None:
        """An archive without a row: the database was lost, the archive is not."""
        known = {backup.id for backup in self.catalog.list_backups()}
        for backup_id in self.directory.archives():
            if backup_id not in known:
                self.catalog.add_backup(self._read(backup_id))

    def _read(self, backup_id: str) -> Backup:
        """A row from what the archive itself says. Its files are not read: that is `verify`."""
        path = self.directory.archive(backup_id)
        size, modified = path.stat().st_size, path.stat().st_mtime
        now = utc_now()
        backup = Backup(
            id=backup_id,
            state="completed",
            reason=None,
            created_at=datetime.fromtimestamp(modified, timezone.utc),
            created_by="unknown",
            duration_seconds=None,
            size_bytes=size,
            manifest=None,
            warning_count=0,
            # The clock starts anew: what was lost once must not go in the first prune.
            expires_at=now + timedelta(days=self.retention_days),
            kept=False,
            adopted=True,
            verified_at=None,
            intact=None,
        )
        try:
            with (
                self.directory.work() as folder,
                ArchiveReader(path, Path(folder, "index")) as reader,
            ):
                reader.read_members(lambda _: None)
                manifest = reader.check_manifest()
        except ArchiveError as error:
            return dataclasses.replace(backup, reason=str(error), verified_at=now, intact=False)
        return dataclasses.replace(
            backup, created_by=manifest.created_by, manifest=manifest.as_json()
        )


def _recovered() -> dict[str, Any]:
    return {"code": "recovered", "message": _RECOVERED, "record": None}
