"""Running one operation from its start to its final state, in the thread that asks for it."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hexhub_backup import signals
from hexhub_backup.errors import (
    BackupError,
    CancelledError,
    InterruptedOperationError,
    SpaceError,
    StorageError,
)
from hexhub_backup.history.directory import BackupDirectory, new_id
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.operations.progress import Event, Progress

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks for a wish to cancel from another process.
_STOP_INTERVAL = 0.2
_STATES: dict[type[BaseException], str] = {
    CancelledError: "cancelled",
    InterruptedOperationError: "interrupted",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run. `work` gets the operation's id and its Progress, and returns the
    outcome; `alone` says that it takes the lock."""

    verb: str
    steps: Sequence[str]
    work: Callable[[str, Progress], dict[str, Any]]
    actor: str
    address: str | None = None
    #: The backup it is about; a create makes the one that has its own id.
    backup: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    #: Sends the verb's own signal, of an outcome that is true by now. It comes before
    #: `operation_finished`, so that after a crash in between recovery sends it again: rather
    #: twice than never.
    announce: Callable[[dict[str, Any]], None] | None = None
    alone: bool = True


@dataclass(frozen=True)
class Done:
    """An operation that is completed. The outcome has its `warnings` and `warning_count`."""

    operation: str
    outcome: dict[str, Any]
    duration_seconds: float


def ending(error: BackupError | None) -> dict[str, Any]:
    """The final state that an error, or none, means: `state`, `reason`, `code`, `faults`."""
    if error is None:
        return {"state": "completed", "reason": None, "code": None, "faults": []}
    return {
        "state": _STATES.get(type(error), "failed"),
        "reason": str(error),
        "code": error.code,
        "faults": [fault.as_json() for fault in error.faults],
    }


class Stamp:
    """Numbers the events of an operation."""

    def __init__(self, last: int = 0) -> None:
        self._last = last

    def __call__(self, event: Event) -> Event:
        self._last += 1
        return {"seq": self._last, "at": datetime.now(timezone.utc).isoformat(), **event}


class Runner:
    """Runs jobs. `recover` is called under the lock before a job that is alone."""

    def __init__(self, directory: BackupDirectory, recover: Callable[[Any], None]) -> None:
        self._directory = directory
        self._recover = recover
        #: With what every operation in this process has to end, as soon as it is set.
        self.stopping: BackupError | None = None

    def run(self, app: Any, job: Job) -> Done:
        """Run a job to its end. Raises BusyError at once, and what ended the operation after it
        was recorded, as BackupError."""
        with ExitStack() as stack:
            operation = new_id()
            if job.alone:
                try:
                    lock = stack.enter_context(exclusive(self._directory.lock))
                    self._recover(app)
                    lock.name(
                        {
                            "operation": operation,
                            "verb": job.verb,
                            "actor": job.actor,
                            "started_at": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
                        }
                    )
                except OSError as error:
                    raise as_backup_error(error, job.verb) from error
            return self._run(app, job, operation)

    def _run(self, app: Any, job: Job, operation: str) -> Done:
        started = time.monotonic()
        stamp = Stamp()
        about = {"operation": operation, "verb": job.verb}
        who = {
            **about,
            "actor": job.actor,
            "address": job.address,
            "backup": operation if job.verb == "create" else job.backup,
        }

        def tell(event: Event) -> None:
            signal = (
                signals.operation_step if event["type"] == "step" else signals.operation_progress
            )
            signals.emit(signal, app, **about, event=stamp(event))

        progress = Progress(job.steps, tell, self._stop(operation))
        event = stamp({"type": "state", "state": "running", **who, "steps": list(job.steps)})
        signals.emit(signals.operation_started, app, **who, options=job.options, event=event)
        outcome: dict[str, Any] | None = None
        error: BackupError | None = None
        try:
            outcome = {
                **job.work(operation, progress),
                "operation": operation,
                "warnings": [warning.as_json() for warning in progress.warnings],
                "warning_count": progress.warning_count,
            }
            if job.announce is not None:
                job.announce(outcome)
        except BaseException as cause:
            error = as_backup_error(cause, job.verb)
            raise error from cause
        finally:
            ended = {
                **ending(error),
                "outcome": outcome,
                "warning_count": progress.warning_count,
                "duration_seconds": round(time.monotonic() - started, 3),
            }
            event = stamp({"type": "result", **ended})
            signals.emit(signals.operation_finished, app, **who, **ended, event=event)
            with suppress(OSError):
                self._directory.stop_wish(operation).unlink(missing_ok=True)
        return Done(operation, outcome, ended["duration_seconds"])

    def _stop(self, operation: str) -> Callable[[], BackupError | None]:
        wish = self._directory.stop_wish(operation)
        next_look = 0.0

        def stop() -> BackupError | None:
            nonlocal next_look
            if self.stopping is None and (now := time.monotonic()) >= next_look:
                next_look = now + _STOP_INTERVAL
                if wish.exists():
                    return CancelledError("It was cancelled.")
            return self.stopping

        return stop


def as_backup_error(cause: BaseException, verb: str) -> BackupError:
    """Whatever ended an operation, as an error that an admin can do something with."""
    if isinstance(cause, BackupError):
        return cause
    if isinstance(cause, OSError):
        place = f" ({cause.filename})" if cause.filename else ""
        if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return SpaceError(
                f"The disk became full during the {verb}{place}: make room there, and start "
                "again. Nothing was changed."
            )
        return StorageError(
            f"The {verb} ended, because the system refused a file operation: "
            f"{cause.strerror or cause}{place}. Mend that, and start again."
        )
    if not isinstance(cause, Exception):
        return InterruptedOperationError("The process was told to stop.")
    _log.error("the %s ended with an unexpected error", verb, exc_info=cause)
    return BackupError(
        f"The {verb} ended with an unexpected error ({type(cause).__name__}), which is in the "
        "host's log. Please report it."
    )
