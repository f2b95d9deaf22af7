"""Running one operation from its start to its final state, in this thread or in one of its own."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from threading import Thread
from typing import Any

from hexhub_backup import signals
from hexhub_backup.errors import (
    BackupError,
    CancelledError,
    DatabaseError,
    InterruptedOperationError,
    SpaceError,
    StorageError,
)
from hexhub_backup.history.directory import BackupDirectory, new_id
from hexhub_backup.jobs import process
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.jobs.receivers import KeptEvents
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
    outcome; `alone` says that it takes the lock, `archive` which file it holds meanwhile."""

    app: Any
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
    archive: Path | None = None


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
    """Runs jobs. `recover` is called under the lock before a job that is alone, `is_recorded`
    tells whether an operation that has begun is in the history, and `alone` is the lock that the
    database has beside that of the directory."""

    def __init__(
        self,
        directory: BackupDirectory,
        events: KeptEvents,
        recover: Callable[[Any], None],
        is_recorded: Callable[[str], bool],
        alone: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._directory = directory
        self._events = events
        self._recover = recover
        self._is_recorded = is_recorded
        self._alone = alone
        #: With what every operation in this process has to end, as soon as it is set.
        self.stopping: BackupError | None = None

    def run(self, job: Job) -> Done:
        """Run a job to its end. Raises BusyError and NotFoundError at once, and what ended the
        operation, after it was recorded, as BackupError."""
        with ExitStack() as held:
            return self._begin(job, held)()

    def start(self, job: Job) -> str:
        """Run a job in a thread of its own; gives the operation's id. Raises BusyError and
        NotFoundError at once.

        The thread is no daemon: when the process is told to stop, the operation ends at its next
        chunk, and the process after it.
        """
        with ExitStack() as stack:
            work = self._begin(job, stack)
            held = stack.pop_all()

        def in_thread() -> None:
            with held, job.app.app_context(), suppress(BackupError):
                work()

        # A server's own threads may be daemons, and it would be one after them.
        Thread(target=in_thread, name=f"hexhub_backup {job.verb}", daemon=False).start()
        return work.operation

    def _begin(self, job: Job, held: ExitStack) -> _Work:
        """Take what the job needs for itself, and tell that it has begun."""
        operation = new_id()
        try:
            if job.archive is not None:
                held.enter_context(self._directory.using(job.archive))
            if job.alone:
                lock = held.enter_context(exclusive(self._directory.lock))
                held.enter_context(self._alone())
                self._recover(job.app)
                lock.name(
                    {
                        "operation": operation,
                        "verb": job.verb,
                        "actor": job.actor,
                        "started_at": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
                    }
                )
            held.enter_context(self._events.opened(operation))
        except OSError as error:
            raise as_backup_error(error, job.verb) from error
        return _Work(job, operation, self._stop(operation), self._directory, self._is_recorded)

    def _stop(self, operation: str) -> Callable[[], BackupError | None]:
        wish = self._directory.stop_wish(operation)
        next_look = 0.0

        def stop() -> BackupError | None:
            nonlocal next_look
            if self.stopping is None and (now := time.monotonic()) >= next_look:
                next_look = now + _STOP_INTERVAL
                if wish.exists():
                    return CancelledError("It was cancelled.")
                if process.is_ending():
                    return InterruptedOperationError("server stopped")
            return self.stopping

        return stop


class _Work:
    """An operation that has begun; calling it does the work."""

    def __init__(
        self,
        job: Job,
        operation: str,
        stop: Callable[[], BackupError | None],
        directory: BackupDirectory,
        is_recorded: Callable[[str], bool],
    ) -> None:
        self.operation = operation
        self._is_recorded = is_recorded
        self._job = job
        self._directory = directory
        self._started = time.monotonic()
        self._stamp = Stamp()
        self._about = {"operation": operation, "verb": job.verb}
        self._who = {
            **self._about,
            "actor": job.actor,
            "address": job.address,
            "backup": operation if job.verb == "create" else job.backup,
        }
        self._progress = Progress(job.steps, self._tell, stop)
        began = {"type": "state", "state": "running", **self._who, "steps": list(job.steps)}
        event = self._stamp(began)
        signals.emit(
            signals.operation_started, job.app, **self._who, options=job.options, event=event
        )

    def _tell(self, event: Event) -> None:
        signal = signals.operation_step if event["type"] == "step" else signals.operation_progress
        signals.emit(signal, self._job.app, **self._about, event=self._stamp(event))

    def _refuse_unrecorded(self) -> None:
        """What nobody could find in the history afterwards is not begun."""
        if not self._is_recorded(self.operation):
            raise DatabaseError(
                f"The {self._job.verb} could not be recorded in the history, so that it was not "
                "begun: see the host's log, and start again."
            )

    def __call__(self) -> Done:
        job, progress = self._job, self._progress
        outcome: dict[str, Any] | None = None
        error: BackupError | None = None
        try:
            self._refuse_unrecorded()
            outcome = {
                **job.work(self.operation, progress),
                "operation": self.operation,
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
                "duration_seconds": round(time.monotonic() - self._started, 3),
            }
            event = self._stamp({"type": "result", **ended})
            signals.emit(signals.operation_finished, job.app, **self._who, **ended, event=event)
            with suppress(OSError):
                self._directory.stop_wish(self.operation).unlink(missing_ok=True)
        return Done(self.operation, outcome, ended["duration_seconds"])


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
