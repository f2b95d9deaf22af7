"""Kills the worker of a gunicorn, at random moments while it restores, on PostgreSQL."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

from examples.host_app import create_app, csrf
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.errors import BackupError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE
from tests.support.postgres import Server
from tests.torture.scenarios import Bench, changed_registry
from tests.torture.state import remains, strangers
from tests.torture.table import Row

_WHO = Who(actor="served")
#: Seconds.


def app() -> Flask:
    """What gunicorn serves: the example host, and what starts an operation in this worker."""
    host = create_app()
    backups: Backups = host.extensions["hexhub_backup"]

    def restore(archive: str) -> dict[str, Any]:
        plan = backups.orders.run(
            host,
            verbs.inspect.order(backups.history, _WHO, f"/{archive}", Choice(strategy="overwrite")),
        )
        return {
            "pid": os.getpid(),
            "operation": backups.orders.start(
                host, verbs.restore.order(backups.plans, _WHO, plan.operation)
            ),
        }

    def create() -> dict[str, Any]:
        try:
            return {"operation": backups.orders.run(host, verbs.create.order(_WHO)).operation}
        except BackupError as error:
            return {"error": error.as_json()}

    def ready() -> str:
        return "ready"

    for rule, view in (
        ("/ready", ready),
        ("/restore/<path:archive>", restore),
        ("/create", create),
    ):
        host.add_url_rule(f"/torture{rule}", view_func=csrf.exempt(view))
    return host


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", f"/torture{path}")
        return json.loads(connection.getresponse().read())


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/torture/ready")
        return connection.getresponse().status == 200
    return False


@contextmanager
def gunicorn(instance: Instance) -> Iterator[int]:
    """Two workers over an instance; gives their port."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ["gunicorn", "--workers=2", "--threads=4", f"--bind=127.0.0.1:{port}"]
    with (instance.path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "tests.torture.served:app()"],
            cwd=ROOT,
            env=instance.environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((instance.path / "server.log").read_text()[-2000:])
            time.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _kill(pid: int) -> None:
    """Kill a process, and wait until it is dead: a thread of it that is flushing a disk takes its
    time, and holds all that the process held."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while not _is_dead(Path("/proc", str(pid))):
            assert time.monotonic() < deadline
            time.sleep(0.005)


def _is_dead(process: Path) -> bool:
    # The first thread is a zombie before the others are gone.
    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    return state in "ZX" and len(list((process / "task").iterdir())) <= 1


def _registry(instance: Instance) -> str:
    return hashlib.sha256(repr(instance.registry()).encode()).hexdigest()


class Served:
    """A restore in a gunicorn, to be killed."""

    def __init__(self, folder: Path, running: Server) -> None:
        self._bench = Bench(folder, running)
        self._instance, self._archive = changed_registry(
            folder,
            self._bench.new(),
            packages=30,
            releases=3,
            file_size=20_000,
        )
        self._before = _registry(self._instance)
        self._after = ""
        self._seconds = 0.0
        state, problems = self.attempt("undisturbed", None)
        if problems:
            raise RuntimeError(f"a restore fails undisturbed: {state} {problems}")

    def attempt(self, name: str, share: float | None) -> tuple[str, list[str]]:
        """Kill the worker when this share of the time that a restore takes has passed."""
        instance = self._bench.copied(self._instance, name)
        problems: list[str] = []
        with gunicorn(instance) as port:
            begun = _get(port, f"/restore{self._archive}")
            started = time.monotonic()
            if share is None:
                self._wait(instance, begun["operation"])
                self._seconds = time.monotonic() - started
                self._after = _registry(instance)
            else:
                time.sleep(share * self._seconds)
                _kill(begun["pid"])
            # At once: it recovers first.
            again = self._again(port)
            if "error" in again:
                problems.append(f"nothing new can begin: {again['error']}")
        state = {self._before: "before", self._after: "after"}.get(_registry(instance), "neither")
        if state == "neither":
            problems.append("the registry is neither as before nor as after")
        return state, problems + self._remains(instance, begun["operation"], state)

    def _again(self, port: int) -> Any:
        # The kernel may have handed the connection to the worker that was killed.
        for _ in range(3):
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _get(port, "/create")
            time.sleep(0.05)
        return {"error": "nobody answers"}

    def _wait(self, instance: Instance, operation: str) -> None:
        deadline = time.monotonic() + PATIENCE
        query = f"SELECT state FROM hexhub_backup_operations WHERE id = '{operation}'"
        while time.monotonic() < deadline:
            with instance.database() as connection:
                if connection.exec_driver_sql(query).scalar() not in ("queued", "running"):
                    return
            time.sleep(0.02)
        raise TimeoutError(operation)

    def _remains(self, instance: Instance, operation: str, state: str) -> list[str]:
        host = create_app(instance.path, {"SQLALCHEMY_DATABASE_URI": instance.uri})
        backups: Backups = host.extensions["hexhub_backup"]
        with host.app_context():
            problems = remains(instance, backups) + strangers(backups)
            ended = backups.catalog.operation(operation).state
            if (ended == "completed") is not (state == "after"):
                problems.append(f"the restore is {ended}, and the registry as {state}")
            db.session.remove()
            db.engine.dispose()
        return problems


#: Its row in the table.
SCENARIO, FAULT = "restore in gunicorn", "a worker is killed"


def torture_served(kills: int, running: Server, seed: int = 1) -> Row:
    """Kill so many workers."""
    chance = random.Random(seed)
    started = time.monotonic()
    row = Row(SCENARIO, FAULT, kills)
    with tempfile.TemporaryDirectory(prefix="torture-served-") as folder:
        served = Served(Path(folder), running)
        for number in range(kills):
            share = chance.uniform(0, 1.1)
            state, problems = served.attempt(f"kill-{number}", share)
            row.points += 1
            row.hit += 1
            row.before += state == "before"
            row.after += state == "after"
            for problem in problems:
                row.failures.append(f"kill no. {number}, after {share:.0%} of a restore: {problem}")
    row.seconds = time.monotonic() - started
    return row
