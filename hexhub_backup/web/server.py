"""What each process of a server does beside its requests: recovery, prune, an orderly end."""

from __future__ import annotations

import logging
import os
import time
from threading import Lock

from flask import Blueprint, Flask, request

from hexhub_backup.errors import BackupError, BusyError, PruneRefusedError, said, without_messages
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs import process, threads
from hexhub_backup.jobs.verbs import PRUNE_EVERY, Who
from hexhub_backup.web import access, here

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks, and at least where a page has seen that something is dead.
_LOOK_EVERY = 60.0
_SOON = 2.0
#: Seconds between two attempts to prune.
_AFTER_REFUSAL = 3600.0
#: Who prunes, to the history.
_SCHEDULE = Who(actor="schedule")
#: Servers whose main thread may be serving this request, and that leave SIGTERM to Python.
_SERVERS = ("Werkzeug/", "gevent/")


class Housekeeping:
    """Puts right what dead processes left, and prunes when it is due: in a thread, so that the
    request that gave the occasion does not wait."""

    def __init__(self) -> None:
        # A process that was forked off (gunicorn --preload) is a new one, and finds a lock that
        # was held just then held for good.
        self._locks: dict[int, Lock] = {}
        self._last: dict[int, float] = {}
        self._prepared: set[int] = set()
        self._next_prune = 0.0

    def look(self, app: Flask, *, soon: bool = False) -> None:
        """Begin what there is to do, if it is time. Any request of the host's comes here;
        `soon` comes who has seen that there is something."""
        now, own = time.monotonic(), os.getpid()
        last = self._last.get(own)
        if last is not None and now < last + (_SOON if soon else _LOOK_EVERY):
            return
        lock = self._locks.setdefault(own, Lock())
        if process.is_ending() or not lock.acquire(blocking=False):
            return
        self._last[own] = now

        def work() -> None:
            try:
                self._work(app, own)
            finally:
                lock.release()

        try:
            threads.start(work, "housekeeping")
        except BackupError as error:
            # The host's own request goes before.
            lock.release()
            _log.debug("housekeeping has to wait: %s", error)

    def _work(self, app: Flask, own: int) -> None:
        try:
            with app.app_context():
                backups = here.backups()
                if own in self._prepared:
                    backups.recover_dead(app)
                else:
                    backups.prepare(app)
                    self._prepared.add(own)
                self._prune_if_due(app)
        except BusyError:
            _log.debug("an operation is running: the prune has to wait")
        except BaseException as error:
            # A BackupError says all that there is to say.
            _log.warning("housekeeping: %s", said(error), exc_info=without_messages(error))

    def _prune_if_due(self, app: Flask) -> None:
        backups = here.backups()
        due, now = backups.catalog.due_at("prune"), utc_now()
        if due is None:
            # A new registry: the first thing that its admin sees is no prune.
            backups.catalog.set_due("prune", now + PRUNE_EVERY)
        # Where it is further ahead than that the clock was wrong when it was set.
        elif not now < due <= now + PRUNE_EVERY and time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + _AFTER_REFUSAL
            try:
                # A refusal is found here first: it makes no operation for each time it is tried.
                backups.expired()
                backups.run(backups.prune(app, _SCHEDULE))
            except PruneRefusedError:
                backups.remove_day_old()
                raise
            except BusyError:
                self._next_prune = 0.0
                raise


def add_to(blueprint: Blueprint) -> None:
    """Let the requests of a blueprint's app give the occasion, and its process end in order."""
    housekeeping = Housekeeping()
    ready = False
    blueprint.record_once(
        lambda state: state.app.extensions.setdefault(here.HOUSEKEEPING, housekeeping.look)
    )

    @blueprint.before_app_request
    def look() -> None:
        if request.environ.get("SERVER_SOFTWARE", "").startswith(_SERVERS):
            process.end_in_order()
        housekeeping.look(here.app())

    @blueprint.before_request
    def tables() -> None:
        # The first page may be asked for before the thread has made them.
        nonlocal ready
        backups = here.backups()
        if not ready and not access.is_endpoint("static"):
            backups.directory.prepare()
            if backups.settings.create_tables:
                backups.create_tables()
            ready = True
