"""Running one order, from its start to its final state, by whoever has its id."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from hexhub_backup import formatting, signals
from hexhub_backup.coordination.base import OPERATION, Coordinator, Log
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import (
    BackupError,
    BusyError,
    CancelledError,
    InterruptedOperationError,
    NotFoundError,
)
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs import process
from hexhub_backup.jobs.ending import as_backup_error, ending
from hexhub_backup.jobs.record import Record, tell_end
from hexhub_backup.operations.progress import Event, Progress
from hexhub_backup.verbs import VERBS
from hexhub_backup.verbs.base import Context, Verb

if TYPE_CHECKING:
    from hexhub_backup.jobs.backups import Backups

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks for a wish to cancel from another process.
_STOP_INTERVAL = 0.2
#: Seconds. Whoever looks whether an operation lives holds its log for a moment.
_LOOKED_AT = 1.0


@dataclass(frozen=True)
class Done:
    """An operation that is completed. The outcome has its `warnings` and `warning_count`."""

    operation: str
    outcome: dict[str, Any]
    duration_seconds: float


class Files(ExitStack):
    """What an order holds of files, by the kernel's locks: its event log, by which it is known to
    be alive, and the archive that it names, which must not be deleted meanwhile."""

    def __init__(self, coordinator: Coordinator, depot: Depot, operation: Operation) -> None:
        """Raises BlockingIOError where another process holds the log, NotFoundError and BusyError
        of the archive, OSError."""
        super().__init__()
        try:
            if (archive := operation.options.get("archive")) is not None:
                self.enter_context(depot.using(archive))
            self.log = self.enter_context(coordinator.log(operation.id))
        except BaseException:
            self.close()
            raise


def run(app: Any, operation_id: str) -> Done:
    """Run an order that waits, to its end, in this thread and in the context of its app. Copies
    that are due after it are started as orders of their own.

    Raises NotFoundError where there is no such order, BusyError where another run has taken it,
    CancelledError where it was cancelled before. Raises what ended the operation, after it was
    recorded, as BackupError; and SettingError where this machine can't run any: then the order
    waits on.
    """
    backups = cast("Backups", app.extensions["hexhub_backup"])
    if not backups.has_places:
        try:
            backups.make_places()
        except (BackupError, OSError) as cause:
            _end_bound(backups, app, operation_id, cause)
            raise
    try:
        return run_alone(app, operation_id)
    finally:
        backups.copying.start_due(app)


def run_alone(app: Any, operation_id: str) -> Done:
    """Run an order as `run` does, and start nothing after it."""
    backups = cast("Backups", app.extensions["hexhub_backup"])
    with ExitStack() as held:
        work = _take(backups, app, operation_id, held)
        ended = work()
        with suppress(OSError):
            backups.coordinator.remove_wish(operation_id)
    # Nothing is held any more by the time that a receiver is told.
    return ended.tell()


def abandon(context: Context, error: BackupError) -> bool:
    """End an order that nobody has taken. False where somebody has by now, or it has ended."""
    operation, verb = context.operation, VERBS[context.operation.verb]
    # First: recovery would take an operation that runs, and holds no log, for a dead one.
    with _log_of(context) as log:
        if not context.catalog.take(operation.id, context.run_token, started_at=None):
            return False
        verb.give_up(context)
        ended = ending(error)
        event = Record(context, verb, log).end(ended, patient=True)
    tell_end(context.app, operation, ended, event)
    return True


def _log_of(context: Context) -> Log:
    """The log of an order that is ended. The process that it is bound to holds it, and finds
    nothing to take any more."""
    operation = context.operation.id
    try:
        return context.coordinator.log(operation)
    except BlockingIOError:
        return context.coordinator.log(operation, alone=False)


def _end_bound(backups: Backups, app: Any, operation_id: str, cause: Exception) -> None:
    """End an order that only this process would run, which can run none."""
    files, _ = backups.orders.hand_over(operation_id)
    if files is not None:
        with files:
            operation = backups.catalog.operation(operation_id)
            error = as_backup_error(cause, operation.verb)
            abandon(backups.context(app, operation, new_token()), error)


def new_token() -> str:
    """What stands for one run of an operation."""
    return secrets.token_hex(16)


def _take(backups: Backups, app: Any, operation_id: str, held: ExitStack) -> _Work:
    """Take an order, and what it needs for itself."""
    files, identity = backups.orders.hand_over(operation_id)
    if files is not None:
        held.enter_context(files)
    operation = backups.catalog.operation(operation_id)
    if operation.state != "queued":
        raise _not_queued(operation)
    verb = VERBS.get(operation.verb)
    if verb is None:
        raise NotFoundError(
            f"This release of hexhub_backup knows no {operation.verb}: let one that does run "
            f"operation {operation_id}."
        )
    try:
        if files is None:
            files = held.enter_context(_files(backups, operation))
        if verb.exclusive or verb.alone:
            only = OPERATION if verb.exclusive else verb.name
            lock = held.enter_context(backups.coordinator.exclusive(only, log=files.log))
            lock.name(
                {
                    "operation": operation_id,
                    "verb": operation.verb,
                    "actor": operation.actor,
                    "started_at": formatting.time(utc_now()),
                }
            )
        held.enter_context(backups.coordinator.running(operation_id))
    except BlockingIOError:
        raise _not_queued(operation) from None
    except (BackupError, OSError) as cause:
        error = as_backup_error(cause, operation.verb)
        abandon(backups.context(app, operation, new_token()), error)
        raise error from cause
    token = new_token()
    if not backups.catalog.take(operation_id, token, started_at=utc_now()):
        raise _not_queued(backups.catalog.operation(operation_id))
    context = backups.context(app, backups.catalog.operation(operation_id), token)
    context = replace(context, identity=identity)
    return _Work(context, verb, Record(context, verb, files.log), _stop(backups, operation_id))


def _files(backups: Backups, operation: Operation) -> Files:
    """What the order of a runner needs of files. Raises as `Files`."""
    patience = time.monotonic() + _LOOKED_AT
    while True:
        try:
            return Files(backups.coordinator, backups.depot, operation)
        except BlockingIOError:
            still = backups.catalog.operation(operation.id)
            if still.state != operation.state or time.monotonic() >= patience:
                raise
        time.sleep(0.02)


def _not_queued(operation: Operation) -> BackupError:
    if operation.state == "cancelled":
        return CancelledError(operation.reason or "It was cancelled.")
    if operation.ended:
        return BusyError(
            f"The {operation.verb} {operation.id} does not wait to be run: it has ended, as "
            f"{operation.state}. Look at its page, or through 'flask backups operations'."
        )
    return BusyError(
        f"The {operation.verb} {operation.id} does not wait to be run: another process has taken "
        "it. Look at its page, or through 'flask backups operations'."
    )


def _stop(backups: Backups, operation_id: str) -> Callable[[], BackupError | None]:
    """A function that says with what the operation has to end, if it has to."""
    next_look = 0.0

    def stop() -> BackupError | None:
        nonlocal next_look
        if backups.orders.stopping is None and (now := time.monotonic()) >= next_look:
            next_look = now + _STOP_INTERVAL
            if backups.coordinator.wishes_stop(operation_id):
                return CancelledError("It was cancelled.")
            if process.is_ending():
                return InterruptedOperationError("server stopped")
        return backups.orders.stopping

    return stop


class _Work:
    """An operation that was taken; calling it does the work."""

    def __init__(
        self,
        context: Context,
        verb: Verb,
        record: Record,
        stop: Callable[[], BackupError | None],
    ) -> None:
        self.context = context
        self.record = record
        self._verb = verb
        self._started = time.monotonic()
        steps = verb.steps(context.operation)
        about = context.operation.about
        self._began = record.keep(
            {"type": "state", "state": "running", **about, "steps": list(steps)}
        )
        before: dict[str, Any] = {}
        # Nothing hangs on an estimate.
        with suppress(BackupError):
            before = context.catalog.measured(verb.name)
        self._progress = Progress(steps, self._happened, stop, before)

    def _happened(self, event: Event) -> None:
        signal = signals.operation_step if event["type"] == "step" else signals.operation_progress
        operation = self.context.operation
        signals.emit(
            signal,
            self.context.app,
            operation=operation.id,
            verb=operation.verb,
            event=self.record.keep(event),
        )

    def __call__(self) -> _Ended:
        context, verb, progress = self.context, self._verb, self._progress
        operation = context.operation
        signals.emit(
            signals.operation_started,
            context.app,
            **operation.about,
            options=operation.options,
            event=self._began,
        )
        outcome: dict[str, Any] | None = None
        cause: BaseException | None = None
        error: BackupError | None = None
        try:
            verb.begin(context)
            outcome = {
                **verb.work(context, progress),
                "operation": operation.id,
                "steps": progress.measured(),
                "warnings": [warning.as_json() for warning in progress.warnings],
                "warning_count": progress.warning_count,
            }
            # It comes before `operation_finished`, so that after a crash in between recovery sends
            # it again: rather twice than never.
            verb.announce(context, outcome)
        except BaseException as raised:
            cause, error = raised, as_backup_error(raised, verb.name)
        ended = ending(
            error,
            outcome=outcome,
            warning_count=progress.warning_count,
            duration_seconds=round(time.monotonic() - self._started, 3),
        )
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
        context = self.work.context
        tell_end(context.app, context.operation, self.ended, self.event)
        if self.error is not None:
            raise self.error from self.cause
        outcome = self.ended["outcome"]
        return Done(outcome["operation"], outcome, self.ended["duration_seconds"])
