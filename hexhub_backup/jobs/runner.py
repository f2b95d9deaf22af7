"""Running one operation from its start to its final state, in this thread or in one of its own."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.errors import (
    BackupError,
    CancelledError,
    InterruptedOperationError,
    SpaceError,
    StorageError,
    without_messages,
)
from hexhub_backup.history.directory import BackupDirectory, new_id
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs import process, threads
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.jobs.record import Record, ending
from hexhub_backup.operations.progress import Event, Progress

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks for a wish to cancel from another process.
_STOP_INTERVAL = 0.2


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


class Runner:
    """Runs jobs. `recover` is called under the lock before a job that is alone."""

    def __init__(
        self,
        catalog: Catalog,
        directory: BackupDirectory,
        recover: Callable[[Any], None],
        retention_days: int,
    ) -> None:
        self._catalog = catalog
        self._directory = directory
        self._recover = recover
        self._retention_days = retention_days
        #: With what every operation in this process has to end, as soon as it is set.
        self.stopping: BackupError | None = None

    def run(self, job: Job) -> Done:
        """Run a job to its end. Raises BusyError, NotFoundError and DatabaseError at once, and
        what ended the operation, after it was recorded, as BackupError."""
        return self._run(job, lambda _: None)

    def start(self, job: Job) -> str:
        """Run a job in a thread of its own; gives the operation's id once it has begun. Raises
        BusyError, NotFoundError and DatabaseError: then it has not begun.

        When the process is told to stop, the operation ends at its next chunk, and the process
        after it.
        """
        begun: Future[str] = Future()

        def in_thread() -> None:
            try:
                with job.app.app_context():
                    self._run(job, begun.set_result)
            except BaseException as error:
                if not begun.done():
                    begun.set_exception(error)
                elif not isinstance(error, BackupError):
                    _log.error(
                        "the thread of a %s ended with an error",
                        job.verb,
                        exc_info=without_messages(error),
                    )

        # Whatever is taken for the job is taken in its thread: without one there is nothing to
        # give back.
        threads.start(in_thread, job.verb)
        return begun.result()

    def _run(self, job: Job, begun: Callable[[str], None]) -> Done:
        operation = Operation(
            id=(name := new_id()),
            verb=job.verb,
            state="running",
            actor=job.actor,
            address=job.address,
            backup_id=name if job.verb == "create" else job.backup,
            options=job.options,
            started_at=utc_now(),
        )
        with ExitStack() as held:
            work = _Work(job, self._begin(job, operation, held), self._stop(name))
            begun(name)
            ended = work()
            with suppress(OSError):
                self._directory.stop_wish(name).unlink(missing_ok=True)
        # Nothing is held any more by the time that a receiver is told.
        return ended.tell()

    def _begin(self, job: Job, operation: Operation, held: ExitStack) -> Record:
        """Take what the job needs for itself, and record that it has begun."""
        try:
            if job.archive is not None:
                held.enter_context(self._directory.using(job.archive))
            if job.alone:
                lock = held.enter_context(exclusive(self._directory.lock))
                held.enter_context(self._catalog.alone())
                self._recover(job.app)
                lock.name(
                    {
                        "operation": operation.id,
                        "verb": job.verb,
                        "actor": job.actor,
                        "started_at": f"{operation.started_at:%Y-%m-%d %H:%M:%S} UTC",
                    }
                )
            path = self._directory.events(operation.id)
            record = Record(
                self._catalog,
                held.enter_context(EventLog(path)),
                operation,
                self._retention_days,
            )
            try:
                held.enter_context(self._directory.running(operation.id))
                record.begin()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise as_backup_error(error, job.verb) from error
        return record

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

    def __init__(self, job: Job, record: Record, stop: Callable[[], BackupError | None]) -> None:
        self.job = job
        self.record = record
        self.who = who(record.operation)
        self._started = time.monotonic()
        began = {"type": "state", "state": "running", **self.who, "steps": list(job.steps)}
        self._began = record.keep(began)
        self._progress = Progress(job.steps, self._happened, stop)

    def _happened(self, event: Event) -> None:
        signal = signals.operation_step if event["type"] == "step" else signals.operation_progress
        about = {"operation": self.who["operation"], "verb": self.who["verb"]}
        signals.emit(signal, self.job.app, **about, event=self.record.keep(event))

    def __call__(self) -> _Ended:
        job, progress = self.job, self._progress
        signals.emit(
            signals.operation_started,
            job.app,
            **self.who,
            options=job.options,
            event=self._began,
        )
        outcome: dict[str, Any] | None = None
        cause: BaseException | None = None
        error: BackupError | None = None
        try:
            outcome = {
                **job.work(self.record.operation.id, progress),
                "operation": self.record.operation.id,
                "warnings": [warning.as_json() for warning in progress.warnings],
                "warning_count": progress.warning_count,
            }
            if job.announce is not None:
                job.announce(outcome)
        except BaseException as raised:
            cause, error = raised, as_backup_error(raised, job.verb)
        ended = {
            **ending(error),
            "outcome": outcome,
            "warning_count": progress.warning_count,
            "duration_seconds": round(time.monotonic() - self._started, 3),
        }
        return _Ended(self, ended, self.record.end(ended, patient=True), error, cause)


@dataclass(frozen=True)
class _Ended:
    """An operation that has ended, and is recorded; telling it gives what `run` gives."""

    work: _Work
    ended: dict[str, Any]
    event: Event
    error: BackupError | None
    cause: BaseException | None

    def tell(self) -> Done:
        tell_end(self.work.job.app, self.work.record.operation, self.ended, self.event)
        if self.error is not None:
            raise self.error from self.cause
        outcome = self.ended["outcome"]
        return Done(outcome["operation"], outcome, self.ended["duration_seconds"])


def who(operation: Operation) -> dict[str, Any]:
    """What the signals and the first event say of an operation."""
    return {
        "operation": operation.id,
        "verb": operation.verb,
        "actor": operation.actor,
        "address": operation.address,
        "backup": operation.backup_id,
    }


def tell_end(app: Any, operation: Operation, ended: dict[str, Any], event: Event) -> None:
    """Send `operation_finished`, of what is recorded by now."""
    signals.emit(signals.operation_finished, app, **who(operation), **ended, event=event)


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
            f"{cause.strerror or type(cause).__name__}{place}. Fix that and start again."
        )
    if not isinstance(cause, Exception):
        return InterruptedOperationError("The process was told to stop.")
    _log.error("the %s ended with an unexpected error", verb, exc_info=without_messages(cause))
    return BackupError(
        f"The {verb} ended with an unexpected error ({type(cause).__name__}), which is in the "
        "host's log. Please report it."
    )
