"""The thread that ticks: one in each process that serves, asleep until the next thing is due."""

from __future__ import annotations

import logging
import os
import weakref
from _thread import start_new_thread
from time import monotonic, sleep
from typing import Any

from hexhub_backup.errors import BackupError, log_text, without_messages
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs import process, threads
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.schedule.tick import next_at, tick

_log = logging.getLogger("hexhub_backup")

#: Seconds. The longest sleep: a clock may have been set, or the machine have slept too.
_AT_MOST = 600.0
#: Where operations run in other processes: what one has left that was killed is put right within
#: half a minute, also where nobody looks at a page.
_AT_MOST_ELSEWHERE = 15.0
_AT_LEAST = 1.0
#: After an error: the database may be away.
_AFTER_ERROR = 60.0
#: A process that was forked is a server by then, or none.
_BOOTS_IN = 60.0
_LOOK_EVERY = 0.1


class Ticking:
    """Has an app tick in each process that serves it.

    - Under gunicorn, once its worker has booted: also where the app was loaded before the fork.
    - `flask run`, after a moment in which the app is made to its end.
    - Any other server: from the first request of each process on.

    No other process ticks by itself, such as a command, a script, a worker of a queue, or a
    master that only forks.
    """

    def __init__(self, app: Any) -> None:
        # An app that nobody uses any more ends its thread.
        self._app = weakref.ref(app)
        self._loaded_in = os.getpid()
        #: By process id: which thread has come first, and lives.
        self._began: dict[int, object] = {}
        #: The time of `monotonic` before which no thread is asked for again.
        self._not_before = 0.0
        _all.add(self)

    def look(self) -> None:
        """Begin where this process is, or is about to be, a worker of gunicorn. Any thread of its
        own would be in the way of a server that makes greenlets of threads when it boots."""
        if process.is_worker() or process.is_forked_by_gunicorn(self._loaded_in):
            start_new_thread(self._wait, ())

    def _wait(self) -> None:
        for _ in range(round(_BOOTS_IN / _LOOK_EVERY)):
            if process.serves():
                self.begin()
                return
            sleep(_LOOK_EVERY)

    def begin(self, *, after: float = 0.0) -> None:
        """Tick in this process, unless it does. `after` is in seconds. Where there is no thread
        for it, the first call a minute later asks for one again."""
        own, me = os.getpid(), object()
        if monotonic() < self._not_before or self._began.setdefault(own, me) is not me:
            return

        def live() -> None:
            try:
                self._run(after)
            finally:
                self._began.pop(own, None)

        try:
            threads.in_background(live, "clock")
        except BackupError as error:
            self._not_before = monotonic() + _AFTER_ERROR
            self._began.pop(own, None)
            _log.warning("this process does nothing by the schedule: %s", error)

    def _run(self, wait: float) -> None:
        prepared = False
        while True:
            sleep(wait)
            app = self._app()
            if app is None or process.is_ending():
                return
            try:
                prepared, wait = _tick(app, prepared=prepared)
            # Whatever it is, even what is to end a script: the schedule goes on.
            except BaseException as error:
                if process.is_ending():
                    return
                _log.warning(
                    "what is due by the schedule: %s",
                    log_text(error),
                    exc_info=without_messages(error),
                )
                wait = _AFTER_ERROR
            del app


def _tick(app: Any, *, prepared: bool) -> tuple[bool, float]:
    """Whether all is prepared by now, and the seconds to sleep after it."""
    with app.app_context():
        backups = backups_of(app)
        if prepared:
            backups.recover_dead(app)
        else:
            prepared = backups.prepare(app)
        tick(app, backups.orders.start)
        upcoming = min(next_at(app).values(), default=None)
    if upcoming is None:
        return prepared, _AT_LEAST
    at_most = _AT_MOST_ELSEWHERE if backups.orders.has_runner else _AT_MOST
    return prepared, min(max((upcoming - utc_now()).total_seconds(), _AT_LEAST), at_most)


_all: weakref.WeakSet[Ticking] = weakref.WeakSet()


def _after_fork() -> None:
    for each in _all:
        each.look()


os.register_at_fork(after_in_child=_after_fork)
