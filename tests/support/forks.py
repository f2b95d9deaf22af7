"""Runs `python -m …` without the second in which Python loads everything: one process has the
modules loaded, and forks for each command.

What runs is a process of its own, with its own arguments, environment, folder and standard
streams. What measures or traces a command from its very start runs it by itself.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

#: All that a command of the example host uses.
_LOADED = (
    "examples.host_app.seed",
    "flask.cli",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "tests.support.people",
)

_lock = threading.Lock()
_parent: _Parent | None = None


def run(
    *command: str,
    folder: Path,
    environment: Mapping[str, str],
    stdin: str = "",
    timeout: float,
    started: Callable[[int], object] = lambda _: None,
) -> subprocess.CompletedProcess[str]:
    """Run a module with its arguments, and return its exit code and what it printed. `started` is
    told the id of its process.

    Raises subprocess.TimeoutExpired after `timeout` seconds, when it has been killed.
    """
    global _parent  # noqa: PLW0603 (one for each process of the tests)
    with _lock:
        if _parent is None:
            _parent = _Parent(folder, environment)
    with (
        tempfile.TemporaryFile() as request,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        about = {"command": command, "folder": str(folder), "environment": {**environment}}
        request.write(json.dumps(about).encode())
        request.seek(0)
        given.write(stdin.encode())
        given.seek(0)
        files = [given.fileno(), output.fileno(), errors.fileno(), request.fileno()]
        code = _parent.code(files, [*command], timeout, started)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            [*command], code, output.read().decode(), errors.read().decode()
        )


class _Parent:
    """The process that forks."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forks", str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=folder,
                # The warnings that are errors, above all, which Python reads when it starts.
                env=environment,
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()

    def code(
        self,
        files: list[int],
        command: list[str],
        timeout: float,
        started: Callable[[int], object],
    ) -> int:
        """The exit code of a command with its streams and the file that describes it."""
        ours, theirs = socket.socketpair()
        with ours, ours.makefile() as answers:
            with theirs:
                socket.send_fds(self._socket, [b"!"], [*files, theirs.fileno()])
            process = int(answers.readline())
            started(process)
            ours.settimeout(timeout)
            try:
                return int(answers.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns the request in a child, and None when there are no more."""
    running: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        while running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            with running.pop(process) as answers, suppress(OSError):
                answers.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1, 5)
        if not message:
            return None
        *standard, request, status = files
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            for number, file in enumerate(standard):
                os.dup2(file, number)
            with os.fdopen(request) as described:
                found: dict[str, Any] = json.load(described)
            for each in (*standard, status):
                os.close(each)
            for other in running.values():
                other.close()
            return found
        running[process] = socket.socket(fileno=status)
        running[process].sendall(b"%d\n" % process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for file in (*standard, request):
            os.close(file)


def load() -> None:
    """Load all that a command uses, for the children of this process."""
    for name in _LOADED:
        import_module(name)
    # Else the first collection in each child would copy what it shares with this process.
    gc.collect()
    gc.freeze()


def main() -> None:
    load()
    with socket.socket(fileno=int(sys.argv[1])) as requests, suppress(KeyboardInterrupt):
        request = _serve(requests)
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["command"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
