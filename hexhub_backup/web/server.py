"""What a server process does beside its requests: recovery, what is due, and an orderly end."""

from __future__ import annotations

import logging
import os
import time
from threading import Lock

from flask import Blueprint, Flask, request

from hexhub_backup.errors import (
    BackupError,
    log_text,
    without_messages,
)
from hexhub_backup.jobs import process, threads
from hexhub_backup.web import access, current

_log = logging.getLogger("hexhub_backup")

#: Seconds between two checks, and the least where a page has seen a dead operation.
_LOOK_EVERY = 60.0
_SOON = 2.0
#: Servers whose main thread may be serving this request, and that leave SIGTERM to Python.
_SERVERS = ("Werkzeug/", "gevent/")
#: What servers put into the environment of a request.
_SERVED = {"SERVER_SOFTWARE", "uwsgi.version"}


class Housekeeping:
    """Recovers the operations of dead processes. It runs in a thread, so that the request that
    triggers it does not wait."""

    def __init__(self) -> None:
        # By process id: in a forked process (gunicorn --preload) a lock that was held during the
        # fork stays held forever.
        self._locks: dict[int, Lock] = {}
        self._last: dict[int, float] = {}
        self._prepared: set[int] = set()

    def look(self, app: Flask, *, soon: bool = False) -> None:
        """Start the work if it is due. Every request of the host calls this; `soon` means that a
        dead operation was seen."""
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
            # The host's own request comes first.
            lock.release()
            _log.debug("housekeeping has to wait: %s", error)

    def _work(self, app: Flask, own: int) -> None:
        try:
            with app.app_context():
                backups = current.backups()
                if own in self._prepared:
                    backups.recover_dead(app)
                elif backups.prepare(app):
                    self._prepared.add(own)
        except BaseException as error:
            # The message of a BackupError is enough.
            _log.warning("housekeeping: %s", log_text(error), exc_info=without_messages(error))


def add_to(blueprint: Blueprint) -> None:
    """Run the housekeeping on the app's requests, and let its process end in order."""
    housekeeping = Housekeeping()
    ready = False
    blueprint.record_once(
        lambda state: state.app.extensions.setdefault(current.HOUSEKEEPING, housekeeping.look)
    )

    @blueprint.before_app_request
    def look() -> None:
        if request.environ.get("SERVER_SOFTWARE", "").startswith(_SERVERS):
            process.end_in_order()
        ticking = current.app().extensions.get(current.TICKING)
        # A test of the host's has no server.
        if ticking is not None and _SERVED & request.environ.keys():
            ticking.begin()
        housekeeping.look(current.app())

    @blueprint.before_request
    def tables() -> None:
        # The first page may be requested before the thread has created them.
        nonlocal ready
        backups = current.backups()
        if not ready and not access.is_endpoint("static"):
            ready = backups.make()
