"""Pings: a monitor elsewhere learns when a backup begins and how it ended, in the manner of
Healthchecks. It raises the alarm where no ping comes."""

from __future__ import annotations

import logging
import os
from collections import deque
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from hexhub_backup import signals
from hexhub_backup.errors import BackupError
from hexhub_backup.jobs import threads
from hexhub_backup.verbs.create import CREATE

_log = logging.getLogger("hexhub_backup")

#: Seconds that a monitor may take to answer.
_TIMEOUT = 10.0
#: Characters of a reason: Healthchecks keeps the first 100 kB of a body.
_REASON_LENGTH = 10_000


class Pings:
    """Sends a ping to `URL/start` when a backup begins, and to `URL` or `URL/fail` when it ends.

    One thread at a time sends them, in order, and ends when there are none left: no operation
    waits for a monitor. The URL is a secret: no log line has it.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._lock = Lock()
        self._waiting: deque[tuple[str, str]] = deque()
        #: The process whose thread sends them: after a fork it is that of another one.
        self._sending: int | None = None

    def connect(self, app: Any) -> None:
        signals.operation_started.connect(self.started, app)
        signals.operation_finished.connect(self.finished, app)

    def started(self, _: Any, *, verb: str, **extra: Any) -> None:
        if verb == CREATE.name:
            self._send("/start", "")

    def finished(self, _: Any, *, verb: str, state: str, reason: str | None, **extra: Any) -> None:
        if verb == CREATE.name and state == "completed":
            self._send("", "")
        elif verb == CREATE.name:
            self._send("/fail", f"{state}: {reason}"[:_REASON_LENGTH])

    def _send(self, suffix: str, text: str) -> None:
        with self._lock:
            self._waiting.append((suffix, text))
            if self._sending == os.getpid():
                return
            self._sending = os.getpid()
        try:
            threads.start(self._work, "ping")
        except BackupError as error:
            with self._lock:
                self._sending = None
            _log.warning("the monitor was not told of a backup: %s", error)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._sending = None
                    return
                suffix, text = self._waiting.popleft()
            self._ping(suffix, text)

    def _ping(self, suffix: str, text: str) -> None:
        url = urlunsplit(self._url._replace(path=self._url.path.rstrip("/") + suffix))
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        # The settings refuse what is neither http nor https.
        request = Request(url, text.encode(errors="replace"), headers)  # noqa: S310
        try:
            urlopen(request, timeout=_TIMEOUT).close()  # noqa: S310
        except (OSError, HTTPException, ValueError) as error:
            # The text of an error may have the URL.
            _log.warning(
                "the monitor at %s was not told of a backup: %s",
                self._url.hostname,
                type(error).__name__,
            )
