"""What a dead process left behind: finished where it was decided, taken back where it was not."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.errors import ArchiveError, BackupError, InterruptedOperationError
from hexhub_backup.history.directory import RESERVED_IDS, BackupDirectory
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.retention import expiry
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.announcing import announce_backup, announce_restore, announce_undo
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.jobs.record import Record, ending
from hexhub_backup.jobs.runner import as_backup_error, tell_end
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
    retention_days: int

    def __call__(self, app: Any) -> None:
        """Twice is as once. One that can not be put right does not keep the others from it.

        Raises BackupError, OSError: then it is tried again at the next look.
        """
        failed: list[BackupError] = []
        for name in self.catalog.unsettled_operations(for_good=True):
            with (
                suppress(BlockingIOError),
                _later(failed),
                EventLog(self.directory.events(name)) as log,
            ):
                # As it is now: whoever held its log may have ended it meanwhile.
                found = self.catalog.operation(name)
                self._settle(app, Record(self.catalog, log, found, self.retention_days))
        for operation_id in self.storage.staged():
            with _later(failed):
                if self.catalog.decided(operation_id):
                    self._finish(self.catalog.operation(operation_id))
                else:
                    self._give_up(operation_id)
        self.directory.remove_partials()
        if failed:
            raise failed[0]
        self._adopt()

    def _finish(self, operation: Operation) -> dict[str, Any]:
        """Gives the outcome, with what it warns of by now."""
        outcome = operation.outcome or {}

        def warn(*_: Any) -> None:
            """Nobody looks on; the outcome has it."""

        finish(operation.id, self.registry, self.storage, self.catalog, warn=warn, outcome=outcome)
        return outcome

    def _give_up(self, operation_id: str) -> None:
        of = self.directory
        give_up(operation_id, self.storage, of.undo_set(operation_id), of.changed(operation_id))

    def _settle(self, app: Any, record: Record) -> None:
        """Give an operation that does not run any more its final state."""
        operation = record.operation
        if operation.decided_at is not None:
            if operation.state != "completed":
                self._complete_decided(app, record)
        elif operation.state != "running":
            return
        elif record.result is not None:
            # It has ended and told so, but the history could not be written then.
            record.write(record.result)
            tell_end(app, operation, _ended(record.result), record.result)
        elif operation.verb == "create" and self.directory.archive(operation.id).exists():
            self._complete_create(app, record)
        else:
            if operation.verb in ("verify", "inspect"):
                self.directory.remove_plan(operation.id)
            if operation.verb == "inspect" and "before" not in operation.options:
                self.directory.remove_upload(operation.options.get("archive"))
            if operation.verb in ("restore", "undo"):
                self._give_up(operation.id)
            self._end(app, record, error=_DIED)

    def _complete_decided(self, app: Any, record: Record) -> None:
        operation = record.operation
        outcome = self._finish(operation)
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
        self._end(app, record, outcome=outcome, warnings=[_recovered()])

    def _complete_create(self, app: Any, record: Record) -> None:
        """The archive is there, so that it had been checked and synced before it was named."""
        operation = record.operation
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
        self._end(app, record, outcome=outcome, warnings=[_recovered()])

    def _end(
        self,
        app: Any,
        record: Record,
        *,
        error: BackupError | None = None,
        outcome: dict[str, Any] | None = None,
        warnings: Sequence[dict[str, Any]] = (),
    ) -> None:
        if outcome is not None:
            outcome = {
                **outcome,
                "operation": record.operation.id,
                "warnings": [*outcome.get("warnings", []), *warnings],
                "warning_count": outcome.get("warning_count", 0) + len(warnings),
            }
        ended = {
            **ending(error),
            "outcome": outcome,
            "warning_count": 0 if outcome is None else outcome["warning_count"],
            "duration_seconds": None,
        }
        event = record.end(ended, patient=False)
        tell_end(app, record.operation, ended, event)

    def _adopt(self) -> None:
        """An archive without a row: the database was lost, the archive is not."""
        for backup_id in self.directory.archives():
            if not self.catalog.has_backup(backup_id):
                try:
                    self.catalog.add_backup(self._read(backup_id))
                except (BackupError, OSError) as error:
                    _log.error("%s is not adopted: %s", self.directory.archive(backup_id), error)

        for name in self.directory.misnamed():
            _log.error(
                "%s in %s is not adopted: rename it to hexhub-backup-ID.tar, where ID has up to "
                "40 letters (A to Z), digits and '-', begins with no '-', and is none of %s",
                name.encode(errors="backslashreplace").decode(),
                self.directory.path,
                ", ".join(sorted(RESERVED_IDS)),
            )

    def _read(self, backup_id: str) -> Backup:
        """A row from what the archive itself says. Its files are not read: that is `verify`."""
        path = self.directory.archive(backup_id)
        size, modified = path.stat().st_size, path.stat().st_mtime
        now, created_at = utc_now(), _time(modified)
        backup = Backup(
            id=backup_id,
            state="completed",
            created_at=created_at,
            created_by="unknown",
            size_bytes=size,
            expires_at=expiry(created_at, self.retention_days, adopted_at=now),
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
def _later(failed: list[BackupError]) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except Exception as error:
        failed.append(as_backup_error(error, "recovery"))


def _ended(result: dict[str, Any]) -> dict[str, Any]:
    """What the event that told the end of an operation says of it."""
    return {name: value for name, value in result.items() if name not in ("seq", "at", "type")}


def _recovered() -> dict[str, Any]:
    return {"code": "recovered", "message": _RECOVERED, "record": None}
