"""Our own receivers of the signals: the audit log and log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hexhub_backup import signals
from hexhub_backup.formatting import one_line
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations.progress import Event
from hexhub_backup.verbs import VERBS

_log = logging.getLogger("hexhub_backup")

#: `audit(event, *, actor, at, address, details)`.
Audit = Callable[..., None]


class AuditLog:
    """Records what happened for auditors, with the host's function or in our table."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def connect(self, app: Any) -> None:
        signals.operation_finished.connect(self.finished, app)
        signals.backup_created.connect(self.created, app)
        signals.backup_deleted.connect(self.deleted, app)
        signals.backup_downloaded.connect(self.downloaded, app)
        signals.change_acknowledged.connect(self.acknowledged, app)
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
        event = VERBS[verb].audit_event
        if state != "completed":
            event = event or VERBS[verb].failure_audit_event
        if event is not None:
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
        self,
        _: Any,
        *,
        backup: str,
        actor: str,
        address: str | None,
        reason: str,
        places: list[str],
        **extra: Any,
    ) -> None:
        details = {"backup": backup, "reason": reason, "places": places}
        self._record("backup.deleted", actor, address, details)

    def downloaded(
        self,
        _: Any,
        *,
        backup: str,
        actor: str,
        address: str | None,
        issued: bool = False,
        file: str | None = None,
        **extra: Any,
    ) -> None:
        details: dict[str, Any] = {"backup": backup}
        if issued:
            details["issued"] = True
        if file is not None:
            details["file"] = file
        self._record("backup.downloaded", actor, address, details)

    def acknowledged(
        self,
        _: Any,
        *,
        backup: str,
        actor: str,
        address: str | None,
        changed_files: int,
        note: str,
        **extra: Any,
    ) -> None:
        details = {"backup": backup, "changed_files": changed_files, "note": note}
        self._record("backup.change_acknowledged", actor, address, details)

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
        self._record("backup.restored", actor, address, _audit_details(operation, outcome))

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
        details = {**_audit_details(operation, outcome), "undone": undone}
        self._record("backup.undone", actor, address, details)


def _audit_details(operation: str, outcome: dict[str, Any]) -> dict[str, Any]:
    """The part of an outcome that goes to the audit log."""
    names = ("records", "files", "warning_count")
    return {"operation": operation, **{name: outcome[name] for name in names}}


class LogLines:
    """Logs when an operation starts, its warnings, and how it ended."""

    def connect(self, app: Any) -> None:
        signals.operation_started.connect(self.started, app)
        signals.operation_progress.connect(self.happened, app)
        signals.operation_finished.connect(self.finished, app)

    def started(self, _: Any, *, operation: str, verb: str, actor: str, **extra: Any) -> None:
        _log.info("%s %s of %s began", verb, operation, one_line(actor))

    def happened(self, _: Any, *, operation: str, verb: str, event: Event, **extra: Any) -> None:
        if event["type"] == "warning":
            text = f"{event['record'] or 'the archive'}: {event['message']}"
            _log.warning("%s %s: %s", verb, operation, one_line(text))

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
        _log.info("%s %s %s%s%s", verb, operation, state, took, one_line(why))
