"""Who ticks: one thread in each process that serves, before its first request too, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from flask import Flask

from hexhub_backup.history.models import ListedBackup
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.schedule.tick import next_at, tick
from tests.support import matrix
from tests.support.booted import BOOTED
from tests.support.instance import Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import COUNTED, ROOT, Address, Process, Visitor, gunicorn, process

HOURLY = {"HOST_APP_SCHEDULE": "hourly"}
CLOCK = "hexhub_backup_clock"
pytestmark = pytest.mark.host(config={"HEXHUB_BACKUP_SCHEDULE": "hourly"})

GUNICORN = {
    "gunicorn": (),
    "preload": ("--preload",),
    "one thread": ("--preload", "--threads=1"),
    "gevent": ("--worker-class=gevent",),
    "gevent preload": ("--worker-class=gevent", "--preload"),
}


@pytest.fixture
def missed(app: Flask) -> Flask:
    """A host whose hourly backup was due two hours ago."""
    with app.app_context():
        past = datetime.now(timezone.utc) - timedelta(hours=2)
        backups = backups_of(app)
        tick(app)
        backups.catalog.set_due("backup", past)
    return app


@pytest.fixture
def folder(instance: Instance, app: Flask) -> Path:
    return instance.path


def made(app: Flask) -> list[ListedBackup]:
    with app.app_context():
        return [each for each in backups_of(app).history.backups() if each.state == "completed"]


def done_once(app: Flask) -> None:
    """What was due is done, by the clock, and once."""

    def is_done() -> bool:
        with app.app_context():
            return all(at > datetime.now(timezone.utc) for at in next_at(app).values()) and all(
                each.ended for each in backups_of(app).history.operations()
            )

    wait_for(lambda: made(app))
    wait_for(is_done)
    with app.app_context():
        operations = backups_of(app).history.operations()
    (create,) = operations
    assert (create.verb, create.state, create.actor) == ("create", "completed", "schedule")
    assert create.late_by is not None


@pytest.mark.parametrize("name", matrix.first(GUNICORN))
def test_what_is_due_is_done_once_over_all_workers_without_a_request(
    folder: Path, missed: Flask, name: str
) -> None:
    options = ("--workers=3", "--config=python:tests.support.booted", *GUNICORN[name])
    with gunicorn(folder, *options, asked=False, **HOURLY) as server:
        done_once(missed)
        # Until then a worker has the handlers of gunicorn's master, and forgets what it is told.
        wait_for(lambda: server.log.read_text().count(BOOTED) == 3)
        assert server.end() == 0
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "Warning" not in log


def threads_of(server: Process) -> int:
    return len(list(Path(f"/proc/{server.popen.pid}/task").iterdir()))


def flask_run(folder: Path, *options: str) -> AbstractContextManager[Process]:
    run = ("flask", "--app", "tests.support.serving:counted", "run", "--port={port}")
    return process(folder, *run, *options, asked=False, **HOURLY)


def test_the_development_server_ticks_without_a_request(folder: Path, missed: Flask) -> None:
    with flask_run(folder):
        done_once(missed)


def test_the_one_that_only_reloads_does_not_tick(folder: Path, missed: Flask) -> None:
    with flask_run(folder, "--reload") as server:
        done_once(missed)
        assert threads_of(server) == 1
        children = Path(f"/proc/{server.popen.pid}/task/{server.popen.pid}/children").read_text()
        server.end()
        # The one that serves goes by itself where it has lost its terminal, and here by us.
        for child in children.split():
            subprocess.run(["kill", child], check=False)


def clocks(address: Address) -> tuple[int, int]:
    """The process that answers, and how many of its threads tick."""
    status, _, body = address.request("GET", "/threads", Visitor())
    assert status == 200
    found = json.loads(body)
    return found["process"], found["threads"].count(CLOCK)


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["gunicorn", "preload"])
def test_each_worker_has_one_thread_that_ticks(
    folder: Path, app: Flask, options: tuple[str, ...]
) -> None:
    with gunicorn(folder, *options, app=COUNTED) as server:
        seen: dict[int, set[int]] = {}

        def all_workers() -> bool:
            for _ in range(20):
                worker, count = clocks(server.address)
                seen.setdefault(worker, set()).add(count)
            return len(seen) == 2 and all(1 in each for each in seen.values())

        wait_for(all_workers)
        # None has had two at any time.
        assert set().union(*seen.values()) <= {0, 1}


def test_any_other_server_ticks_from_its_first_request_on(folder: Path, missed: Flask) -> None:
    with process(folder, "tests.support.serving", "{port}", asked=True, **HOURLY) as server:
        done_once(missed)
        assert clocks(server.address) == (server.popen.pid, 1)
        assert clocks(server.address) == (server.popen.pid, 1)


def test_the_thread_can_be_turned_off(folder: Path, app: Flask) -> None:
    off = {"NO_TICK_THREAD": "yes", **HOURLY}
    with gunicorn(folder, "--workers=1", app=COUNTED, asked=True, **off) as server:
        for _ in range(5):
            assert clocks(server.address)[1] == 0


def test_nothing_ends_the_thread_for_good(folder: Path, missed: Flask) -> None:
    """What the host's own parts raise is logged, a thread that could not be had is asked for
    again, and one that has died has a successor. The process ends quietly."""
    with missed.app_context():
        past = datetime.now(timezone.utc) - timedelta(hours=2)
        backups_of(missed).catalog.set_due("prune", past)
    script = """if True:
        import json, sys, threading
        from examples.host_app import create_app
        from hexhub_backup.jobs.backups import backups_of
        from hexhub_backup.schedule import thread
        from tests.support.patience import wait_for

        app, said = create_app(sys.argv[1], {"HEXHUB_BACKUP_SCHEDULE": "hourly"}), {}
        ticking = app.extensions["hexhub_backup_ticking"]

        class Exits:
            ids = []

            def submit(self, operation):
                self.ids.append(operation)
                if len(self.ids) == 1:
                    sys.exit("as a script would")

        backups_of(app).orders._runner = Exits()

        def clocks():
            return [each for each in threading.enumerate() if each.name == "hexhub_backup_clock"]

        die, sleep = threading.Event(), thread.sleep

        def sleep_or_die(seconds):
            if die.is_set():
                sys.exit("outside of what is caught")
            sleep(seconds)

        thread.sleep = sleep_or_die
        thread._AFTER_ERROR = thread._AT_LEAST = thread._AT_MOST = 0.0
        # No machine has so much memory.
        threading.stack_size(1 << 46)
        ticking.begin()
        said["none"] = len(clocks())
        threading.stack_size(0)
        thread._AT_LEAST = thread._AT_MOST = 0.2
        ticking.begin()
        ticking.begin()
        # The backup, and what is ordered after it.
        wait_for(lambda: len(Exits.ids) > 1)
        (first,) = clocks()
        said["lives"] = first.is_alive()
        die.set()
        wait_for(lambda: not first.is_alive())
        die.clear()
        ticking.begin()
        ticking.begin()
        said["after"] = len(clocks())
        print(json.dumps(said))
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"none": 0, "lives": True, "after": 1}
    assert "this process does nothing by the schedule" in done.stderr
    assert "the scheduled backup is put off" in done.stderr


def test_nobody_else_ticks(instance: Instance, folder: Path) -> None:
    """Not a script that makes the app and forks, no command, and no master of gunicorn's."""
    look = (
        "import os, threading\n"
        # What is not written yet would be the child's to write, too.
        "print(len(os.listdir('/proc/self/task')), flush=True)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    print(len(os.listdir('/proc/self/task')), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    script = f"from examples.host_app import create_app\napp = create_app()\n{look}"
    environment = {**instance.environment, **HOURLY}
    said = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert said.stdout.split() == ["1", "1"], said.stderr
    said = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "examples.host_app", "shell"],
        input=f'exec("""{look}""")\n',
        env=environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "1\n1\n" in said.stdout, said.stderr
