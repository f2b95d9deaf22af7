"""`python -m tests.torture.victim`: kills commands, and looks at what is left.

It has all modules loaded and forks for each command, which makes a new process of a command in a
tenth of the time that Python takes to start. A task is a line of JSON on standard input (see
`Task`), what came of it one on standard output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flask.cli
import psycopg
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from tests.support import forks, mariadb
from tests.support.instance import Instance
from tests.support.patience import PATIENCE
from tests.support.stored import HostBucket
from tests.torture.points import KILL
from tests.torture.state import fingerprint, operations_of, remains, strangers

#: Seconds.
_FLASK = ["--app", "examples.host_app", "backups"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Run `flask backups` with `arguments` on a copy of the instance in `base`, kill it at use
    `number` of `call`, or let that one give the error `mode`; then recover, and judge.

    `between` is a third state that is as good as `before`: nothing but a backup was made.
    `traced` are the system calls that are told; with no `mode` the run is undisturbed. `server` is
    the folder of a PostgreSQL, and `database` what to copy in it; without them it is SQLite.
    `bucket` is where its files and backups are, if they are in one.
    """

    base: str
    arguments: list[str]
    verb: str
    before: str
    after: str
    between: str = ""
    mode: str = ""
    call: str = ""
    number: int = 0
    traced: list[str] = dataclasses.field(default_factory=list)
    server: str | None = None
    database: str | None = None
    bucket: HostBucket | None = None

    @classmethod
    def read(cls, line: str) -> Task:
        given = json.loads(line)
        bucket = given.pop("bucket")
        return cls(**given, bucket=bucket and HostBucket(**bucket))


@dataclasses.dataclass
class Result:
    """`state` is `before` or `after`; `trace` is what an undisturbed run did."""

    hit: bool
    state: str
    problems: list[str]
    trace: str = ""


def copy(base: Path, to: Path) -> None:
    """A copy of an instance. Its storage is linked: a file that has another inode is another one
    to an undo or a recovery, and nobody writes into a stored file."""
    for folder, _, names in os.walk(base):
        place = to / Path(folder).relative_to(base)
        place.mkdir()
        place.chmod(Path(folder).stat().st_mode & 0o777)
        stored = "storage" in place.relative_to(to).parts
        for name in names:
            source = Path(folder, name)
            if stored:
                os.link(source, place / name)
            else:
                shutil.copy2(source, place / name)


class Attempt:
    """A task in a folder of its own."""

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self._name = "t_" + "".join(each for each in folder.name.lower() if each.isalnum())
        uri = None
        if task.server is not None:
            uri = f"postgresql+psycopg://tests@/{self._name}?host={task.server}"
            if self._on_mariadb:
                uri = mariadb.uri_of(Path(task.server), self._name)
        bucket = task.bucket and replace(task.bucket, bucket=self._name.replace("_", "-"))
        self.instance = Instance(folder / "state", uri, bucket)
        self._known: set[str] = set()

    @property
    def _on_mariadb(self) -> bool:
        return self._task.server is not None and Path(self._task.server, "socket").exists()

    def _sql(self, sql: str) -> None:
        if self._task.server is not None:
            address = f"postgresql://tests@/postgres?host={self._task.server}"
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(sql)

    def run(self) -> Result:
        task = self._task
        copy(Path(task.base), self.instance.path)
        if self._on_mariadb:
            mariadb.copy(Path(str(task.server)), str(task.database), self._name)
        else:
            self._sql(f"CREATE DATABASE {self._name} TEMPLATE {task.database}")
        if task.bucket is not None and self.instance.bucket is not None:
            task.bucket.copy(self.instance.bucket.bucket)
        try:
            return self._run()
        finally:
            if self.instance.bucket is not None:
                self.instance.bucket.remove()
            if self._on_mariadb:
                mariadb.drop(Path(str(task.server)), self._name)
            else:
                self._sql(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    def _run(self) -> Result:
        task = self._task
        self._known = operations_of(self.instance)
        status, output, trace = self._forked(lambda: command(task.arguments), traced=True)
        hit = status == -signal.SIGKILL if task.mode == KILL else "(INJECTED)" in trace
        problems = []
        # What fails while the host itself starts is the host's.
        if "Traceback" in output and "hexhub_backup/" in output and '{"error"' not in output:
            problems.append(f"a traceback: {output[-800:]}")
        looked, said, _ = self._forked(self._look)
        found = json.loads(said.splitlines()[-1]) if looked == 0 else {}
        state = found.get("state", "unknown")
        problems += found.get("problems", [f"it can't be looked at: {said[-800:]}"])
        if status == 0 and state not in ("after", task.mode and self._same()):
            problems.append(f"the command says it is done, and the state is {state}")
        return Result(hit, state, problems, trace if not task.mode else "")

    def _same(self) -> str:
        return "before" if self._task.before == self._task.after else "after"

    def _look(self) -> None:
        """In a new process: recover, judge, and begin something new at once."""
        task, instance = self._task, self.instance
        app = create_app()
        backups: Backups = app.extensions["hexhub_backup"]
        with app.app_context():
            backups.prepare(app)
            found = fingerprint(instance)
            states = {task.between: "before", task.before: "before", task.after: "after"}
            state = states.get(found, "neither")
            problems = remains(instance, backups)
            if state == "neither":
                problems.append("the registry is neither as before nor as after")
            ended = [
                each.state
                for each in backups.history.operations()
                if each.verb == task.verb and each.id not in self._known
            ]
            if task.verb != "prune":
                problems += strangers(backups)
                # A prune has happened as soon as a backup is deleted, a scan when one is found.
                is_one = task.before != task.after and task.verb != "scan"
                if is_one and ("completed" in ended) is not (state == "after"):
                    problems.append(f"the {task.verb} is {ended}, and the registry as {state}")
            backups.orders.run(app, verbs.prune.order(Who(actor="next")))
            if fingerprint(instance) != (task.after if task.verb == "prune" else found):
                problems.append("the next operation changed the registry")
            if task.verb == "copy":
                problems += self._copied_by_the_next(app, backups)
            problems += remains(instance, backups) + strangers(backups)
            db.session.remove()
            db.engine.dispose()
        print(json.dumps({"state": state, "problems": sorted(set(problems))}))

    def _copied_by_the_next(self, app: Flask, backups: Backups) -> list[str]:
        """The next attempt makes the copy, and leaves no part of one."""
        for backup in backups.history.backups():
            backups.catalog.copies.want(backup.id, "nas", utc_now())
        failed = [str(why) for _, why in backups.copying.run_due(app, Who(actor="next")) if why]
        if fingerprint(self.instance) != self._task.after:
            failed.append("the next attempt makes no copy")
        return failed + [f"left over: {path}" for path in self.instance.nas.glob("*.part")]

    def _forked(self, do: Callable[[], None], *, traced: bool = False) -> tuple[int, str, str]:
        """Do something in a process of its own. Gives its exit code, what it said and its trace."""
        output, trace = self._folder / "output", self._folder / "trace"
        go, going = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(going)
                _become(self.instance, output)
                os.read(go, 1)
                do()
                sys.stdout.flush()
            except SystemExit as ended:
                sys.stdout.flush()
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(70)
            os._exit(0)
        os.close(go)
        tracer = self._tracer(child, trace) if traced else None
        os.write(going, b"!")
        os.close(going)
        status = _wait(child)
        if tracer is not None:
            tracer.wait(PATIENCE)
        said = output.read_text(errors="replace") if output.exists() else ""
        return status, said, trace.read_text(errors="replace") if tracer is not None else ""

    def _tracer(self, child: int, trace: Path) -> subprocess.Popen[str]:
        task = self._task
        command = ["strace", "-f", "-o", str(trace), "-p", str(child)]
        if task.mode:
            effect = "signal=SIGKILL" if task.mode == KILL else f"error={task.mode}"
            command += ["-e", f"trace={task.call}"]
            command += ["-e", f"inject={task.call}:{effect}:when={task.number}"]
        else:
            command += ["-y", "-e", f"trace={','.join(task.traced)}"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"strace does not attach: {said}{tracer.stderr.read()}")
        return tracer


def _become(instance: Instance, output: Path) -> None:
    """Make this process one that has just been started for an instance."""
    os.setsid()
    environment = instance.environment
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _wait(child: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            raise TimeoutError("it took too long")
        time.sleep(0.002)


def command(arguments: list[str]) -> None:
    """`flask backups …`, as from a shell."""
    sys.argv = ["flask", *_FLASK, *arguments]
    flask.cli.main()


def attempt(task: Task) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        return Attempt(task, folder).run()
    except (TimeoutError, OSError, RuntimeError, ValueError) as error:
        return Result(hit=False, state="unknown", problems=[f"{type(error).__name__}: {error}"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    forks.load()
    for line in sys.stdin:
        print(json.dumps(dataclasses.asdict(attempt(Task.read(line)))), flush=True)


if __name__ == "__main__":
    main()
