"""A broker of Redis (or Valkey) for the tests alone, and the Celery workers of the example host."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.postgres import GUARD
from tests.support.servers import running
from tests.support.serving import free_port

QUEUE = "backups"
_MISSING = (
    "There is no broker to test with, and its tests are never skipped: install the Debian package "
    "redis-server (or valkey-server)."
)


class Broker:
    """One server, on a port of 127.0.0.1, which keeps nothing on the disk."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise RuntimeError(_MISSING)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._command += ["--dir", str(folder), "--pidfile", str(folder / "pid")]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", "KILL", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + PATIENCE
        while True:
            with suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"No broker: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: what was in its queues is gone."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def pause(self) -> None:
        """Let it answer nobody, as one whose machine hangs."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        (pid,) = (self._folder / "pid").read_text().split()
        os.kill(int(pid), number)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)

    def waiting(self) -> list[dict[str, Any]]:
        """The messages that wait in the queue, the next one last."""
        with self.client() as client:
            return [json.loads(str(each)) for each in client.lrange(QUEUE, 0, -1)]


def body_of(message: dict[str, Any]) -> Any:
    """What a message carries: the arguments of its task, and what Celery adds."""
    return json.loads(base64.b64decode(message["body"]))


def broker() -> AbstractContextManager[Broker]:
    """A broker that runs. Raises RuntimeError, which names the fix."""
    return running(Broker, "broker")


@dataclass
class Worker:
    """A worker of Celery, with processes of its own, and its log."""

    popen: subprocess.Popen[bytes]
    log: Path

    def kill_children(self) -> None:
        """Kill the processes that it runs operations in."""
        # The first is the guard's.
        (main,) = _children(self.popen.pid)
        for each in _children(main):
            os.kill(each, signal.SIGKILL)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def handled(self, operation: str, times: int = 1) -> None:
        """Wait until an order that was delivered so often is done with, each time."""
        ends = (f"[{operation}] succeeded in", f"[{operation}] raised")
        wait_for(lambda: sum(self.log.read_text().count(each) for each in ends) >= times)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(each) for each in found.split()]


@contextmanager
def worker(instance: Instance, *options: str, name: str = "worker") -> Iterator[Worker]:
    """A worker that has begun to take orders. It is told to end when nobody needs it any more."""
    log = instance.path / f"{name}.log"
    environment = {**instance.environment, "PYTHONWARNINGS": "ignore"}
    command = ["-m", "celery", "-A", "tests.support.working", "worker", "--queues", QUEUE]
    # What it does besides only takes time.
    quick = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    command += ["--concurrency", "2", "--loglevel", "INFO", *quick, *options]
    with log.open("wb") as output:
        popen = subprocess.Popen(
            ["sh", "-c", GUARD, "sh", "TERM", sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    found = Worker(popen, log)
    try:
        wait_for(lambda: " ready." in log.read_text())
        yield found
        popen.communicate(timeout=PATIENCE)
    finally:
        found.kill()
