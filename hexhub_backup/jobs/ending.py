"""Why an operation ended, as its final state and as an error for people."""

from __future__ import annotations

import logging
from typing import Any

from hexhub_backup.durable import FULL
from hexhub_backup.errors import (
    BackupError,
    CancelledError,
    InterruptedOperationError,
    SpaceError,
    StorageError,
    without_messages,
)

_log = logging.getLogger("hexhub_backup")

_STATES: dict[type[BaseException], str] = {
    CancelledError: "cancelled",
    InterruptedOperationError: "interrupted",
}


def ending(
    error: BackupError | None,
    *,
    outcome: dict[str, Any] | None = None,
    warning_count: int = 0,
    duration_seconds: float | None = None,
) -> dict[str, Any]:
    """How an operation ended, as its last event and its row say: the `state` that an error, or
    none, means, with `reason`, `code` and `faults`; and what is handed in."""
    return {
        "state": "completed" if error is None else _STATES.get(type(error), "failed"),
        "reason": None if error is None else _storable(str(error)),
        "code": None if error is None else error.code,
        "faults": [] if error is None else [fault.as_json() for fault in error.faults],
        "outcome": outcome,
        "warning_count": warning_count,
        "duration_seconds": duration_seconds,
    }


def _storable(text: str) -> str:
    """A text that any database takes: names of files may be no text, and hold a NUL elsewhere."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def as_backup_error(cause: BaseException, verb: str) -> BackupError:
    """Whatever ended an operation, as an error that an admin can do something with."""
    if isinstance(cause, BackupError):
        return cause
    if isinstance(cause, OSError):
        during, why = verb, cause.strerror or type(cause).__name__
        if cause.filename:
            during, why = f"{during} ({cause.filename})", f"{why} ({cause.filename})"
        if cause.errno in FULL:
            return SpaceError(
                f"The disk became full during the {during}: make room there, and start again. "
                "Nothing was changed."
            )
        return StorageError(
            f"The {verb} ended, because the system refused a file operation: {why}. Fix that and "
            "start again."
        )
    if not isinstance(cause, Exception):
        return InterruptedOperationError("The process was told to stop.")
    _log.error("the %s ended with an unexpected error", verb, exc_info=without_messages(cause))
    return BackupError(
        f"The {verb} ended with an unexpected error ({type(cause).__name__}), which is in the "
        "host's log. Please report it."
    )
