"""Our own receivers of the signals: the audit log and log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hexhub_backup import signals
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations.progress import Event

_log = logging.getLogger("hexhub_backup")

#: `audit(event, *, actor, at, address, details)`.
Audit = Callable[..., None]


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
