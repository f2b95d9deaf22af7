"""A tick: what is due is claimed, and ordered by who has claimed it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hexhub_backup.depot.names import new_id
from hexhub_backup.due import every, righted
from hexhub_backup.errors import BackupError, BusyError, PruneRefusedError
from hexhub_backup.history.runs import Run, Runs
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs import process
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.schedule.clockwork import SCHEDULE, Job, jobs
from hexhub_backup.verbs.base import Order

_log = logging.getLogger("hexhub_backup")

#: For so long nobody else takes what was claimed, and so soon what found something busy is tried
#: again.
_A_MINUTE = timedelta(minutes=1)
#: Until a prune that was refused is tried again: nothing is put off for longer.
_AFTER_REFUSAL = timedelta(hours=1)

#: Has an order run: `Orders.start`, or `Orders.run` where it is waited for.
Start = Callable[[Any, Order], object]


@dataclass(frozen=True, kw_only=True)
class Ticked:
    """What a tick made of one job that was due: the `operation` that it became, or the `error` for
    which it became none, or with which it ended. Both are None where nothing was to be ordered.
    `elsewhere` says that another process has ordered it, which may still run it."""

    job: str
    due_at: datetime
    operation: str | None = None
    error: BackupError | None = None
    elsewhere: bool = False

    @property
    def failed(self) -> bool:
        """Whether somebody has to see to it: what was busy is tried again."""
        return self.error is not None and not isinstance(self.error, BusyError)

    def words(self) -> str:
        """A line about it."""
        if self.error is not None:
            what = f"the {self.job} is put off" if self.operation is None else self.operation
            return f"{what}: {self.error}"
        if self.elsewhere:
            return f"The {self.job} was begun by another process: {self.operation}"
        return f"The {self.job} is complete: {self.operation}"

    def as_json(self) -> dict[str, Any]:
        error = None if self.error is None else self.error.as_json()
        return {
            "job": self.job,
            "due_at": self.due_at,
            "operation": self.operation,
            "error": error,
        }


def tick(
    app: Any, start: Start | None = None, clock: Callable[[], datetime] = utc_now
) -> list[Ticked]:
    """Have everything run that is due, in the context of an app whose tables are there: here, in
    this thread, where `start` does not have it run elsewhere.

    Of any number of processes that tick at once, one runs what is due. Where that one dies
    between the claim and the order, the next takes over after a minute; both give the operation
    the same id, so that the database lets one of them in. Raises DatabaseError.
    """
    return _Tick(app, start or backups_of(app).orders.run, clock)()


def next_at(app: Any) -> dict[str, datetime]:
    """When which job is to be looked at next. Raises DatabaseError."""
    backups = backups_of(app)
    found = {run.name: run.acts_at for run in Runs(backups.catalog.engine).all().values()}
    if (copy := backups.copying.next_at()) is not None:
        found["copy"] = copy
    return dict(sorted(found.items(), key=lambda each: each[1]))


class _Tick:
    def __init__(self, app: Any, start: Start, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._start = start
        self._clock = clock
        self._backups = backups_of(app)
        self._runs = Runs(self._backups.catalog.engine)

    def __call__(self) -> list[Ticked]:
        known, by_clock = self._runs.all(), jobs(self._backups.settings)
        for name in known.keys() - {job.name for job in by_clock}:
            # It is not scheduled any more: where it will be again, nothing was missed meanwhile.
            self._runs.remove(name)
        done = self._run_due([job for job in by_clock if not job.after_copies], known)
        done += map(self._copy, self._backups.copying.take_due(SCHEDULE, self._clock()))
        done += self._run_due([job for job in by_clock if job.after_copies], known)
        return [each for each in done if each.operation is not None or each.error is not None]

    def _run_due(self, by_clock: list[Job], known: dict[str, Run]) -> list[Ticked]:
        """Have those jobs run that are due, unless another process has claimed them."""
        done: list[Ticked] = []
        for job in by_clock:
            now = self._clock()
            run = self._planned(job, known.get(job.name), now)
            if run is not None and run.acts_at <= now:
                claimed = replace(
                    run, try_at=now + _A_MINUTE, operation_id=run.operation_id or new_id()
                )
                if self._runs.change(run, claimed):
                    done.append(self._run(job, claimed, now))
        return done

    def _copy(self, order: Order) -> Ticked:
        """Have a copy made that is due: it says itself when it is tried again."""
        ticked = Ticked(job=order.verb, due_at=self._clock(), operation=order.id)
        try:
            self._start(self._app, order)
        except BackupError as error:
            self._backups.copying.put_off(order, error)
            return replace(ticked, error=error)
        return ticked

    def _planned(self, job: Job, found: Run | None, now: datetime) -> Run | None:
        """The next run of a job; None where another process changes it just now.

        It is worked out where there is none, and where that was for another schedule. Where a
        wrong clock has put it too far ahead, it is due at once.
        """
        if found is None:
            self._runs.add(Run(name=job.name, spec=job.spec, due_at=job.next_after(now)))
            return None
        due_at, try_at = found.due_at, found.try_at
        if found.spec != job.spec:
            due_at = due_at if due_at <= now else job.next_after(now)
            planned = Run(name=job.name, spec=job.spec, due_at=due_at)
        else:
            if try_at is not None:
                try_at = righted(try_at, every(_AFTER_REFUSAL), now)
            due_at = righted(due_at, job.next_after, now)
            planned = replace(found, due_at=due_at, try_at=try_at)
        return planned if planned == found or self._runs.change(found, planned) else None

    def _run(self, job: Job, run: Run, now: datetime) -> Ticked:
        """Order what was claimed, and say when the next run is due; or put it off."""
        operation = str(run.operation_id)
        ticked = Ticked(job=job.name, due_at=run.due_at, operation=operation)
        try:
            # It is there where whoever has claimed it before died after that.
            if self._backups.catalog.has_operation(operation):
                ticked = replace(ticked, elsewhere=True)
            else:
                order = job.order(self._app, operation, now)
                if order is None:
                    ticked = replace(ticked, operation=None)
                else:
                    due = {"due_at": run.due_at.isoformat()}
                    self._start(self._app, replace(order, options={**order.options, **due}))
        except BaseException as cause:
            if process.is_to_end(cause):
                raise
            # Whatever it is: the other jobs must not wait for it.
            error = as_backup_error(_unexpected(cause), job.name)
            if not self._backups.catalog.has_operation(operation):
                self._put_off(run, now, error)
                return replace(ticked, operation=None, error=error)
            ticked = replace(ticked, error=error)
        self._runs.change(run, Run(name=job.name, spec=job.spec, due_at=job.next_after(now)))
        return ticked

    def _put_off(self, run: Run, now: datetime, error: BackupError) -> None:
        after = _AFTER_REFUSAL if isinstance(error, PruneRefusedError) else _A_MINUTE
        level = logging.INFO if isinstance(error, BusyError) else logging.WARNING
        _log.log(level, "the scheduled %s is put off until %s: %s", run.name, now + after, error)
        self._runs.change(run, replace(run, try_at=now + after, operation_id=None))


def _unexpected(cause: BaseException) -> Exception:
    """What ended a job, also where it was meant to end a script: the process goes on."""
    if isinstance(cause, Exception):
        return cause
    error = RuntimeError()
    error.__cause__ = cause
    return error
