"""Kills a command of an instance when it asks a server of S3 for something."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable

from tests.support.instance import Instance
from tests.support.patience import PATIENCE
from tests.support.s3 import Between, Fate


class Killer:
    """Kills at the first request, by its number and its address, that it is to kill at: before that
    is `done`, or when it is done and the answer is on its way."""

    def __init__(
        self, instance: Instance, line: Between, at: Callable[[int, str], bool], *, done: bool
    ) -> None:
        self._instance, self._line, self._at, self._done = instance, line, at, done
        self._process: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.hit = False

    def run(self, *arguments: str) -> int:
        """Run `flask backups …`. Returns its exit code."""
        self._line.requests.clear()
        self._line.fate = self._fate
        done = self._instance.run("backups", *arguments, started=self._process.put)
        self._line.fate = lambda *_: "pass"
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def _fate(self, number: int, request: str) -> Fate:
        if self.hit or not self._at(number, request):
            return 500 if self.hit else "pass"
        self.hit = True
        os.kill(self._process.get(timeout=PATIENCE), signal.SIGKILL)
        # Of a dead process a server may have heard all or nothing.
        return "pass" if self._done else 500
