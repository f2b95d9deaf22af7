"""The truth about one operation: its kept events and its rows, written by the one who runs it."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone
from typing import Any

from hexhub_backup.errors import (
    BackupError,
    CancelledError,
    DatabaseError,
    InterruptedOperationError,
    said,
    without_messages,
)
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.retention import expiry
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.operations.progress import Event

_log = logging.getLogger("hexhub_backup")

_STATES: dict[type[BaseException], str] = {
    CancelledError: "cancelled",
    InterruptedOperationError: "interrupted",
}
#: Seconds between two attempts to write how an operation ended: a database that restarts is back
#: by then. Recovery does it where that is not enough.
_PAUSES = (0.1, 0.4, 1.0, 2.0, 3.0, 4.0)


def ending(error: BackupError | None) -> dict[str, Any]:
    """The final state that an error, or none, means: `state`, `reason`, `code`, `faults`."""
    if error is None:
        return {"state": "completed", "reason": None, "code": None, "faults": []}
    return {
        "state": _STATES.get(type(error), "failed"),
        "reason": _storable(str(error)),
        "code": error.code,
        "faults": [fault.as_json() for fault in error.faults],
    }


class Record:
    """The record of an operation, open for as long as the operation lives; see EventLog.

    The event that tells how it ended is kept first and the rows are written after it, so that
    recovery can make up for rows that could not be written.
    """

    def __init__(
        self, catalog: Catalog, log: EventLog, operation: Operation, retention_days: int
    ) -> None:
        self.operation = operation
        #: The event that tells how the operation ended, if it has.
        self.result = log.result
        self._catalog = catalog
        self._log = log
        self._retention_days = retention_days
        self._seq = log.last_seq
        self._fails = False

    def begin(self) -> None:
        """Add the rows. Raises DatabaseError."""
        operation, made = self.operation, None
        if operation.verb == "create":
            made = Backup(
                id=operation.id,
                state="running",
                created_at=operation.started_at,
                created_by=operation.actor,
                expires_at=expiry(operation.started_at, self._retention_days, adopted_at=None),
            )
        try:
            self._catalog.add_operation(operation, made)
        except DatabaseError as error:
            raise DatabaseError(
                f"The {operation.verb} was not begun, because it could not be recorded. {error}"
            ) from error

    def keep(self, event: Event) -> Event:
        """Number an event and keep it. An operation doesn't end because its events can't be
        kept; the log is told once."""
        self._seq += 1
        stamped = {"seq": self._seq, "at": datetime.now(timezone.utc).isoformat(), **event}
        try:
            self._log.append(stamped)
        except OSError as error:
            if not self._fails:
                _log.error("events of %s are lost: %s", self.operation.id, error)
            self._fails = True
        return stamped

    def end(self, ended: dict[str, Any], *, patient: bool) -> Event:
        """Keep how the operation ended, and write it into its rows; gives the event.

        `ended` has what `ending` gives, and `outcome`, `warning_count`, `duration_seconds`. Who
        is `patient` tries for a while, and leaves what fails to recovery; otherwise raises
        DatabaseError.
        """
        event = self.keep({"type": "result", **ended})
        if patient:
            self._write_patiently(ended)
        else:
            self.write(ended)
        return event

    def _write_patiently(self, ended: dict[str, Any]) -> None:
        for pause in (*_PAUSES, None):
            try:
                self.write(ended)
            except Exception as error:
                if pause is None:
                    _log.error(
                        "how the %s %s ended could not be recorded, and recovery has to do it: %s",
                        self.operation.verb,
                        self.operation.id,
                        said(error),
                        exc_info=without_messages(error),
                    )
                    return
                time.sleep(pause)
            else:
                return

    def write(self, ended: dict[str, Any]) -> None:
        """Write how the operation ended into its rows. Twice is as once. Raises DatabaseError."""
        operation, now, state = self.operation, utc_now(), ended["state"]
        # The backup first: recovery comes back to an operation that is not finished, and to no
        # backup.
        if operation.verb == "create":
            made = ended["outcome"] or {}
            self._catalog.update_backup(
                operation.id,
                state=state,
                reason=ended["reason"],
                duration_seconds=ended["duration_seconds"],
                size_bytes=made.get("size_bytes"),
                manifest=made.get("manifest"),
                warning_count=ended["warning_count"],
                # It was read back as a part of its creation.
                verified_at=now if state == "completed" else None,
                intact=True if state == "completed" else None,
            )
        elif (
            operation.verb == "verify"
            and operation.backup_id is not None
            and (state == "completed" or ended["code"] == "bad_archive")
        ):
            self._catalog.update_backup(
                operation.backup_id, verified_at=now, intact=state == "completed"
            )
        outcome = ended["outcome"]
        self._catalog.finish_operation(
            operation.id,
            state=state,
            reason=ended["reason"],
            code=ended["code"],
            finished_at=now,
            duration_seconds=ended["duration_seconds"],
            **({} if outcome is None else {"outcome": outcome}),
        )


def _storable(text: str) -> str:
    """A text that any database takes: names of files may be no text, and hold a NUL elsewhere."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
