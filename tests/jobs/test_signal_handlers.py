"""Signals of the system: handled where a server serves or a command runs, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from hexhub_backup import signals
from hexhub_backup.jobs.backups import backups_of
from tests.support.instance import ROOT
from tests.support.patience import PATIENCE

#: What a script, or a worker of a queue, does with an app.
_SCRIPT = """
import signal, sys
mine = lambda *_: None
if sys.argv[2] == "own":
    signal.signal(signal.SIGTERM, mine)
before = [signal.getsignal(number) for number in range(1, 32)]
from examples.host_app import create_app
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
app = create_app(sys.argv[1])
with app.app_context():
    backups = app.extensions["hexhub_backup"]
    backups.prepare(app)
    operation = backups.orders.start(app, verbs.create.order(Who(actor="celery")))
app.test_client().get("/login")
assert [signal.getsignal(number) for number in range(1, 32)] == before
print("unchanged")
"""


@pytest.mark.parametrize("handler", ["none", "own"])
def test_a_script_that_makes_the_app_keeps_its_handlers(tmp_path: Path, handler: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "host"), handler],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("unchanged\n", 0), done.stderr


@pytest.fixture
def came() -> Iterator[list[int]]:
    """The signals that came to a handler of the host's own."""
    found: list[int] = []

    def own(number: int, frame: Any) -> None:
        found.append(number)

    before = {each: signal.signal(each, own) for each in (signal.SIGTERM, signal.SIGINT)}
    yield found
    assert all(signal.getsignal(each) is own for each in before)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("sent", "state", "says"),
    [
        (signal.SIGTERM, "interrupted", "server stopped"),
        (signal.SIGINT, "cancelled", "Ctrl-C"),
    ],
)
def test_a_command_ends_its_operation_and_then_the_hosts_own_handler_is_asked(
    host: Flask, came: list[int], sent: signal.Signals, state: str, says: str
) -> None:
    states: list[tuple[str, list[int]]] = []

    def send(_: Any, **extra: Any) -> None:
        if not came:
            os.kill(os.getpid(), sent)

    def note(_: Any, *, state: str, **extra: Any) -> None:
        states.append((state, [*came]))

    signals.operation_started.connect(send, host)
    signals.operation_finished.connect(note, host)
    done = host.test_cli_runner().invoke(args=["backups", "create"])
    assert done.exit_code == 1
    assert says in done.stderr
    assert states == [(state, [])]
    assert came == [sent]


def test_a_command_that_a_thread_calls_leaves_signals_alone(host: Flask, came: list[int]) -> None:
    codes: list[int] = []

    def call() -> None:
        codes.append(host.test_cli_runner().invoke(args=["backups", "create"]).exit_code)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert codes == [0]
    (found,) = backups_of(host).history.operations()
    assert found.state == "completed"
