"""What each process of a server does beside its requests: recovery, prune, an orderly end."""

from __future__ import annotations

import logging
import os
import signal
import time
from threading import Lock, Thread, current_thread, main_thread
from typing import NoReturn

from flask import Blueprint, Flask

from hexhub_backup.errors import BackupError, BusyError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs import process
from hexhub_backup.jobs.verbs import PRUNE_EVERY, Who
from hexhub_backup.web import access, here

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks whether a prune is due, and after one that was refused.
_LOOK_EVERY = 60.0
_AFTER_REFUSAL = 3600.0
#: Who prunes, to the history.
_SCHEDULE = Who(actor="schedule")


class Housekeeping:
    """Puts right, once a process, what dead ones left, and prunes when it is due: in a thread,
    so that the request that gave the occasion does not wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: int | None = None
        self._next = 0.0

    def look(self) -> None:
        """Begin what there is to do, if it is time. Any request of the host's comes here."""
        if self._process == os.getpid() and time.monotonic() < self._next:
            return
        if process.is_ending() or not self._lock.acquire(blocking=False):
            return
        # A process that was forked off (gunicorn --preload) is a new one.
        first, self._process = self._process != os.getpid(), os.getpid()
        self._next = time.monotonic() + _LOOK_EVERY
        work = Thread(
            target=self._work,
            name="hexhub_backup housekeeping",
            args=(here.app(),),
            kwargs={"first": first},
            daemon=False,
        )
        try:
            work.start()
        except RuntimeError:
            # No thread can be had just now: the host's own request goes before.
            self._lock.release()

    def _work(self, app: Flask, *, first: bool) -> None:
        try:
            with app.app_context():
                if first:
                    here.backups().prepare(app)
                self._prune_if_due(app)
        except BusyError:
            _log.debug("an operation is running: the prune has to wait")
        except Exception as error:
            self._next = time.monotonic() + _AFTER_REFUSAL
            # A BackupError says all that there is to say.
            _log.warning("housekeeping: %s", error, exc_info=not isinstance(error, BackupError))
        finally:
            self._lock.release()

    def _prune_if_due(self, app: Flask) -> None:
        backups = here.backups()
        due = backups.catalog.due_at("prune")
        if due is None:
            # A new registry: the first thing that its admin sees is no prune.
            backups.catalog.set_due("prune", utc_now() + PRUNE_EVERY)
        elif due <= utc_now():
            # A refusal is found here first: it makes no operation for each time it is tried.
            backups.expired()
            backups.run(backups.prune(app, _SCHEDULE))


def add_to(blueprint: Blueprint) -> None:
    """Let the requests of a blueprint's app give the occasion, and its process end in order."""
    housekeeping = Housekeeping()
    ready = False
    blueprint.before_app_request(housekeeping.look)
    blueprint.record_once(lambda _: end_in_order())

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


def end_in_order() -> None:
    """Let SIGTERM end this process as the end of its program would, where nobody handles it: the
    development server. An operation then ends as `interrupted`. Servers have handlers of their
    own, and set them after this one."""
    if current_thread() is main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
