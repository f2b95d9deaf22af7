"""What a dead process left behind: finished where it was decided, taken back where it was not."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.errors import ArchiveError, BackupError, InterruptedOperationError
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.announcing import announce_backup, announce_restore, announce_undo
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.jobs.receivers import History, KeptEvents
from hexhub_backup.jobs.runner import Stamp, ending
from hexhub_backup.operations.placing import finish, forget_undone, give_up
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import Storage

_log = logging.getLogger("hexhub_backup")

_DIED = InterruptedOperationError("The process that ran it ended without a word.")
_RECOVERED = "its process ended after it had happened, and recovery finished it"


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Puts right what is left of operations whose process is dead. Only under the lock."""

    catalog: Catalog
    directory: BackupDirectory
    registry: Registry
    storage: Storage
    events: KeptEvents
    history: History
    retention_days: int

    def __call__(self, app: Any) -> None:
        """Twice is as once. One that can not be put right does not keep the others from it.

        Raises BackupError, OSError: then it is tried again next time.
        """
        failed: list[BackupError | OSError] = []
        for operation in self.catalog.unsettled_operations():
            with (
                suppress(BlockingIOError),
                _later(failed),
                self.events.opened(operation.id) as log,
            ):
                self._settle(app, operation.id, log)
        for operation_id in self.storage.staged():
            with _later(failed):
                if self.catalog.decided(operation_id):
                    self._finish(operation_id)
                else:
                    self._give_up(operation_id)
        self.directory.remove_partials()
        if failed:
            raise failed[0]
        self._adopt()

    def _finish(self, operation_id: str) -> list[dict[str, Any]]:
        warnings: list[dict[str, Any]] = []

        def warn(code: str, message: str, record: str) -> None:
            warnings.append({"code": code, "message": message, "record": record})

        finish(operation_id, self.registry, self.storage, self.catalog, warn)
        return warnings

    def _give_up(self, operation_id: str) -> None:
        of = self.directory
        give_up(operation_id, self.storage, of.undo_set(operation_id), of.changed(operation_id))

    def _settle(self, app: Any, operation_id: str, log: EventLog) -> None:
        """Give an operation that does not run any more its final state."""
        operation = self.catalog.operation(operation_id)
        if operation.decided_at is not None:
            if operation.state != "completed":
                self._complete_decided(app, operation, log)
        elif operation.state != "running":
            return
        elif log.result is not None:
            self._remember(operation, log.result)
        elif operation.verb == "create" and self.directory.archive(operation.id).exists():
            self._complete_create(app, operation, log)
        else:
            if operation.verb in ("verify", "inspect"):
                self.directory.remove_plan(operation.id)
            if operation.verb in ("restore", "undo"):
                self._give_up(operation.id)
            self._end(app, operation, log, error=_DIED)

    def _remember(self, operation: Operation, result: dict[str, Any]) -> None:
        """It has ended and told so, but the history could not be written then."""
        names = ("state", "reason", "code", "warning_count", "outcome", "duration_seconds")
        self.history.finished(
            None,
            operation=operation.id,
            verb=operation.verb,
            backup=operation.backup_id,
            **{name: result[name] for name in names},
        )

    def _complete_decided(self, app: Any, operation: Operation, log: EventLog) -> None:
        warnings = self._finish(operation.id)
        outcome = operation.outcome or {}
        announce = announce_restore
        if operation.verb == "undo":
            undone = operation.options["operation"]
            forget_undone(undone, self.storage, self.directory.undo_set(undone))
            announce = announce_undo
        elif "plan" in operation.options:
            # It holds password hashes, and is not true any more.
            self.directory.remove_plan(operation.options["plan"])
        announce(
            app,
            operation.id,
            outcome,
            actor=operation.actor,
            address=operation.address,
            changed=self.directory.changed(operation.id),
        )
        self._end(app, operation, log, outcome=outcome, warnings=[*warnings, _recovered()])

    def _complete_create(self, app: Any, operation: Operation, log: EventLog) -> None:
        """The archive is there, so that it had been checked and synced before it was named."""
        found = self._read(operation.id)
        outcome = {"manifest": found.manifest, "size_bytes": found.size_bytes}
        announce_backup(
            app,
            operation.id,
            outcome,
            backup=operation.id,
            actor=operation.actor,
            address=operation.address,
            archive=self.directory.archive(operation.id),
        )
        self._end(app, operation, log, outcome=outcome, warnings=[_recovered()])

    def _end(
        self,
        app: Any,
        operation: Operation,
        log: EventLog,
        *,
        error: BackupError | None = None,
        outcome: dict[str, Any] | None = None,
        warnings: Sequence[dict[str, Any]] = (),
    ) -> None:
        if outcome is not None:
            outcome = {
                **outcome,
                "operation": operation.id,
                "warnings": [*outcome.get("warnings", []), *warnings],
                "warning_count": outcome.get("warning_count", 0) + len(warnings),
            }
        stamp = Stamp(log.last_seq)
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
        for backup_id in self.directory.archives():
            if not self.catalog.has_backup(backup_id):
                try:
                    self.catalog.add_backup(self._read(backup_id))
                except (BackupError, OSError) as error:
                    _log.error("%s is not adopted: %s", self.directory.archive(backup_id), error)

    def _read(self, backup_id: str) -> Backup:
        """A row from what the archive itself says. Its files are not read: that is `verify`."""
        path = self.directory.archive(backup_id)
        size, modified = path.stat().st_size, path.stat().st_mtime
        now = utc_now()
        backup = Backup(
            id=backup_id,
            state="completed",
            created_at=_time(modified),
            created_by="unknown",
            size_bytes=size,
            # The clock starts anew: what was lost once must not go in the first prune.
            expires_at=now + timedelta(days=self.retention_days),
            adopted=True,
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


def _time(modified: float) -> datetime:
    """A file's time; now where it is beyond all that a database can hold."""
    try:
        return min(datetime.fromtimestamp(modified, timezone.utc), utc_now())
    except (ValueError, OverflowError, OSError):
        return utc_now()


@contextmanager
def _later(failed: list[BackupError | OSError]) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except (BackupError, OSError) as error:
        failed.append(error)


def _recovered() -> dict[str, Any]:
    return {"code": "recovered", "message": _RECOVERED, "record": None}
