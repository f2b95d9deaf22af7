"""Our own receivers of the signals: the kept events, the history, the audit log, log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from hexhub_backup import signals
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.operations.progress import Event

_log = logging.getLogger("hexhub_backup")

#: `audit(event, *, actor, at, address, details)`.
Audit = Callable[..., None]


class KeptEvents:
    """Writes every event into the operation's log."""

    def __init__(self, directory: BackupDirectory) -> None:
        self._directory = directory
        self._logs: dict[str, EventLog] = {}

    def connect(self, app: Any) -> None:
        signals.operation_started.connect(self.happened, app)
        signals.operation_step.connect(self.happened, app)
        signals.operation_progress.connect(self.happened, app)
        signals.operation_finished.connect(self.happened, app)

    @contextmanager
    def opened(self, operation: str) -> Iterator[EventLog]:
        """Hold the log of an operation for as long as it lives; see EventLog. Raises
        BlockingIOError, OSError."""
        log = self._logs[operation] = EventLog(self._directory.events(operation))
        try:
            yield log
        finally:
            del self._logs[operation]
            log.close()

    def happened(self, _: Any, *, operation: str, event: Event, **extra: Any) -> None:
        if operation in self._logs:
            self._logs[operation].append(event)


class History:
    """Keeps the rows of operations and backups."""

    def __init__(self, catalog: Catalog, retention_days: int) -> None:
        self._catalog = catalog
        self._retention = timedelta(days=retention_days)

    def connect(self, app: Any) -> None:
        signals.operation_started.connect(self.started, app)
        signals.operation_finished.connect(self.finished, app)

    def started(
        self,
        _: Any,
        *,
        operation: str,
        verb: str,
        actor: str,
        address: str | None,
        backup: str | None,
        options: dict[str, Any],
        **extra: Any,
    ) -> None:
        now = utc_now()
        made = None
        if verb == "create":
            made = Backup(
                id=operation,
                state="running",
                created_at=now,
                created_by=actor,
                expires_at=now + self._retention,
            )
        self._catalog.add_operation(
            Operation(
                id=operation,
                verb=verb,
                state="running",
                actor=actor,
                address=address,
                backup_id=backup,
                options=options,
                started_at=now,
            ),
            made,
        )

    def finished(
        self,
        _: Any,
        *,
        operation: str,
        verb: str,
        backup: str | None,
        state: str,
        reason: str | None,
        code: str | None,
        warning_count: int,
        outcome: dict[str, Any] | None,
        duration_seconds: float | None,
        **extra: Any,
    ) -> None:
        now = utc_now()
        # The backup first: recovery comes back to an operation that is not finished, and to no
        # backup.
        if backup is not None and verb == "create":
            made = outcome or {}
            self._catalog.update_backup(
                backup,
                state=state,
                reason=reason,
                duration_seconds=duration_seconds,
                size_bytes=made.get("size_bytes"),
                manifest=made.get("manifest"),
                warning_count=warning_count,
                # It was read back as a part of its creation.
                verified_at=now if state == "completed" else None,
                intact=True if state == "completed" else None,
            )
        elif (
            backup is not None
            and verb == "verify"
            and (state == "completed" or code == "bad_archive")
        ):
            self._catalog.update_backup(
                backup,
                verified_at=now,
                intact=state == "completed",
            )
        values: dict[str, Any] = {} if outcome is None else {"outcome": outcome}
        self._catalog.finish_operation(
            operation,
            state=state,
            reason=reason,
            code=code,
            finished_at=now,
            duration_seconds=duration_seconds,
            **values,
        )


class AuditLog:
    """Tells the host's audit function, or our table, what an auditor asks for."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def connect(self, app: Any) -> None:
        signals.operation_finished.connect(self.finished, app)
        signals.backup_created.connect(self.created, app)
        signals.backup_deleted.connect(self.deleted, app)
        signals.backup_downloaded.connect(self.downloaded, app)
        signals.restore_completed.connect(self.restored, app)
        signals.restore_undone.connect(self.undone, app)

    def _record(self, event: str, actor: str, address: str | None, details: dict[str, Any]) -> None:
        at: datetime = utc_now()
        self._audit(event, actor=actor, at=at, address=address, details=details)

    def finished(
        self,
        _: Any,
        *,
        operation: str,
        verb: str,
        actor: str,
        address: str | None,
        backup: str | None,
        state: str,
        reason: str | None,
        **extra: Any,
    ) -> None:
        details = {"operation": operation, "backup": backup, "state": state, "reason": reason}
        details["verb"] = verb
        if verb == "verify":
            self._record("backup.verified", actor, address, details)
        elif state != "completed" and verb in ("create", "restore", "undo"):
            event = "backup.failed" if verb == "create" else "backup.restore_failed"
            self._record(event, actor, address, details)

    def created(
        self,
        _: Any,
        *,
        backup: str,
        actor: str,
        address: str | None,
        size_bytes: int,
        manifest: dict[str, Any],
        **extra: Any,
    ) -> None:
        details = {
            "backup": backup,
            "size_bytes": size_bytes,
            "contents": manifest["contents"],
            "missing_files": len(manifest["missing_files"]),
        }
        self._record("backup.created", actor, address, details)

    def deleted(
        self, _: Any, *, backup: str, actor: str, address: str | None, reason: str, **extra: Any
    ) -> None:
        self._record("backup.deleted", actor, address, {"backup": backup, "reason": reason})

    def downloaded(
        self, _: Any, *, backup: str, actor: str, address: str | None, **extra: Any
    ) -> None:
        self._record("backup.downloaded", actor, address, {"backup": backup})

    def restored(
        self,
        _: Any,
        *,
        operation: str,
        actor: str,
        address: str | None,
        outcome: dict[str, Any],
        **extra: Any,
    ) -> None:
        self._record("backup.restored", actor, address, _told(operation, outcome))

    def undone(
        self,
        _: Any,
        *,
        operation: str,
        undone: str,
        actor: str,
        address: str | None,
        outcome: dict[str, Any],
        **extra: Any,
    ) -> None:
        details = {**_told(operation, outcome), "undone": undone}
        self._record("backup.undone", actor, address, details)


def _told(operation: str, outcome: dict[str, Any]) -> dict[str, Any]:
    """What an auditor gets of an outcome."""
    names = ("records", "files", "warning_count")
    return {"operation": operation, **{name: outcome[name] for name in names}}


class LogLines:
    """Says in the host's log that an operation began, what it warned of, and how it ended."""

    def connect(self, app: Any) -> None:
        signals.operation_started.connect(self.started, app)
        signals.operation_progress.connect(self.happened, app)
        signals.operation_finished.connect(self.finished, app)

    def started(self, _: Any, *, operation: str, verb: str, actor: str, **extra: Any) -> None:
        _log.info("%s %s of %s began", verb, operation, _one_line(actor))

    def happened(self, _: Any, *, operation: str, verb: str, event: Event, **extra: Any) -> None:
        if event["type"] == "warning":
            text = f"{event['record'] or 'the archive'}: {event['message']}"
            _log.warning("%s %s: %s", verb, operation, _one_line(text))

    def finished(
        self,
        _: Any,
        *,
        operation: str,
        verb: str,
        state: str,
        reason: str | None,
        duration_seconds: float | None,
        **extra: Any,
    ) -> None:
        why = "" if reason is None else f": {reason}"
        took = "" if duration_seconds is None else f" after {duration_seconds} s"
        _log.info("%s %s %s%s%s", verb, operation, state, took, _one_line(why))


def _one_line(text: str) -> str:
    """Names come from archives: what is a control character to a log is written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
