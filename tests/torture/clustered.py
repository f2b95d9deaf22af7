"""Kills what a cluster is made of, at random moments of an operation: the worker that runs it, the
database's process for it, a web process, the broker, the server of the bucket.

Each time the registry has to be as before or as after, the operation has to have its final state
within half a minute, and the next one has to run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.errors import BackupError
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support import s3
from tests.support.cluster import WEB, WORKERS, Cluster, cluster
from tests.support.hosts import planned, rows, without_ids
from tests.support.patience import wait_for
from tests.support.s3 import S3Server
from tests.torture.state import strangers
from tests.torture.table import Row

#: Seconds until an operation has its final state, whatever was killed.
BOUND = 30.0
#: Seconds in which a worker has to take an order: some is lost with a broker, or with a worker that
#: had received it.
_TAKEN = "10"
_WHO = Who(actor="clustered")
#: An operation has moments before a worker takes it, and after its end.
_SHARES = (0.0, 1.1)
#: Whoever asks a database or a bucket that comes back to life is told so in one of these ways.
_AWAY = (BackupError, OSError, sa.exc.SQLAlchemyError)
State = tuple[Any, dict[str, str]]

VERBS = ("create", "restore", "undo", "recovery")
#: Who is killed, and how often of twenty.
VICTIMS = {"worker": 20, "database": 20, "web": 5, "broker": 5, "bucket": 5}


class Clustered:
    """A cluster, one more machine of it in this process, and a restore that changes something."""

    def __init__(self, found: Cluster, app: Flask, store: Store) -> None:
        self.cluster, self.app, self.store = found, app, store
        self.chance = random.Random(1)
        self.backup = self._completed(verbs.create.order(_WHO)).id
        self._damage()
        self.before = self.state()
        self.seconds: dict[str, float] = {}
        began = time.monotonic()
        self._completed(verbs.create.order(_WHO))
        self.seconds["create"] = time.monotonic() - began
        order = planned(app, self.backup, who=_WHO)
        began = time.monotonic()
        self.restored = self._completed(order).id
        self.seconds["restore"] = time.monotonic() - began
        self.after = self.state()
        began = time.monotonic()
        self._completed(verbs.undo.order(self.backups.history, _WHO, self.restored, granted=True))
        self.seconds["undo"] = time.monotonic() - began
        began = time.monotonic()
        found.flask(WEB[1], "backups", "operations")
        self.seconds["recovery"] = time.monotonic() - began
        if self.state() != self.before or self.before == self.after:
            raise RuntimeError("restore and undo go wrong undisturbed")

    @property
    def backups(self) -> Backups:
        return backups_of(self.app)

    def _damage(self) -> None:
        """Releases that are gone with their files, and others whose file is another one."""
        client = self.store.server.client()
        with db.engine.begin() as connection:
            found = connection.execute(
                sa.text(
                    "SELECT releases.id, packages.name, version FROM releases JOIN packages ON "
                    "packages.id = package_id WHERE source = 'local' ORDER BY 1 LIMIT 12"
                )
            ).all()
            for number, (release, package, version) in enumerate(found):
                file = f"{package}/{package}-{version}.tar.gz"
                place = {"Bucket": self.store.bucket, "Key": f"files/hosted/packages/{file}"}
                if number % 2:
                    client.put_object(**place, Body=b"another")
                    sql = f"UPDATE releases SET url = '/x' WHERE id = {release}"
                else:
                    client.delete_object(**place)
                    sql = f"DELETE FROM releases WHERE id = {release}"
                connection.execute(sa.text(sql))

    def state(self) -> State:
        """Of the whole registry: its rows, which may have other ids, and its files' ETags."""
        found = self.store.keys()
        files = {key: tag for key, tag in found.items() if not key.startswith(".hexhub")}
        return without_ids(rows()), files

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What a database or a bucket says that may be away just now."""

        def once() -> tuple[Any]:
            try:
                return (ask(),)
            except _AWAY:
                db.session.remove()
                db.engine.dispose()
                return ()  # type: ignore[return-value]

        return wait_for(once)[0]

    def operation(self, operation: str) -> Operation:
        return self._asked(lambda: self.backups.catalog.operation(operation))  # type: ignore[no-any-return]

    def _completed(self, order: Any) -> Operation:
        """What a worker makes of an order. Raises RuntimeError where that goes wrong."""
        ended = self._ended(self.backups.orders.start(self.app, order))
        if ended.state != "completed":
            raise RuntimeError(f"the {ended.verb} is {ended.state}: {ended.reason}")
        return ended

    def _ended(self, operation: str) -> Operation:
        """It is only looked at: whoever has to put it right is another process."""

        def look() -> Operation | None:
            found = self.operation(operation)
            open_ = self._asked(lambda: [*self.backups.catalog.unsettled_operations()])
            return found if found.ended and not open_ else None

        ended: Operation = wait_for(look)
        return ended

    def attempt(self, verb: str, victim: str) -> tuple[str, float, list[str]]:
        """Kill one while an operation runs. Gives where that has led, after how many seconds it
        had its final state, and what was wrong."""
        self._at(self.after if verb == "undo" else self.before)
        begin = {
            "create": self._create,
            "restore": self._restore,
            "undo": self._undo,
            "recovery": self._restore,
        }[verb]
        operation = begin()
        if verb == "recovery":
            time.sleep(self.chance.uniform(0.3, 0.9) * self.seconds["restore"])
            self._kill_worker(operation)()
            recovery = self.cluster.begin(WEB[1], "backups", "operations")
            time.sleep(self.chance.uniform(*_SHARES) * self.seconds["recovery"])
            start = self._kill(victim, operation, recovery)
        else:
            time.sleep(self.chance.uniform(*_SHARES) * self.seconds[verb])
            start = self._kill(victim, operation, None)
        killed = time.monotonic()
        start()
        ended = self._ended(operation)
        took = time.monotonic() - killed
        if verb == "recovery":
            recovery.communicate()
        found = self._asked(self.state)
        state = "before" if found == self.before else "after" if found == self.after else "neither"
        problems = [*self._problems(verb, ended, state, took)]
        if state == "neither":
            problems.append(f"it differs in {self._differs(found)}")
        return state, took, problems

    def _differs(self, found: State) -> str:
        """In what a registry is not as before."""
        tables, files = found
        rows_ = [table for table, each in tables.items() if each != self.before[0][table]]
        keys = sorted(key for key, _ in {*files.items()} ^ {*self.before[1].items()})
        return f"the rows of {', '.join(rows_) or 'nothing'}, and {', '.join(keys) or 'no file'}"

    def _problems(self, verb: str, ended: Operation, state: str, took: float) -> Iterator[str]:
        if state == "neither":
            yield "the registry is neither as before nor as after"
        if took > BOUND:
            yield f"it was {ended.state} after {took:.1f} s only"
        was, becomes = ("after", "before") if verb == "undo" else ("before", "after")
        wanted = becomes if verb != "create" and ended.state == "completed" else was
        if state not in (wanted, "neither"):
            yield f"the {verb} is {ended.state} ({ended.reason}), and the registry as {state}"
        yield from self._next()
        yield from self._asked(lambda: strangers(self.backups))
        kept = set(self._asked(self.backups.storage.kept))
        for key in self._asked(self.store.keys):
            folder, _, rest = key.removeprefix(".hexhub-backup/").partition("/")
            # What dies while it tries the server leaves that to the bucket's rule.
            if not key.startswith(".hexhub") or folder == "probe":
                continue
            if folder != "undo" or rest.split("/")[0] not in kept:
                yield f"left over: {key}"

    def _next(self) -> Iterator[str]:
        """The next operation runs. What is queued when a broker or a worker was dead a moment ago
        may be lost, and fails as such."""

        def done() -> Operation | None:
            order = verbs.create.order(_WHO)
            ended = self._ended(self._asked(lambda: self.backups.orders.start(self.app, order)))
            return None if ended.code == "not_taken" else ended

        ended: Operation = wait_for(done)
        if ended.state != "completed":
            yield f"the next operation is {ended.state}: {ended.reason}"

    def _at(self, wanted: State) -> None:
        """Bring the registry there."""
        if self.state() != wanted:
            if wanted == self.after:
                self._completed(planned(self.app, self.backup, who=_WHO))
            else:
                history = self.backups.history
                undo = verbs.undo.order(history, _WHO, self._restored(), granted=True)
                self._completed(undo)
        if self.state() != wanted:
            raise RuntimeError("the registry can't be brought back to where it was")

    def _restored(self) -> str:
        return next(
            each.id
            for each in self.backups.history.operations()
            if (each.verb, each.state) == ("restore", "completed")
        )

    def _create(self) -> str:
        return self.backups.orders.start(self.app, verbs.create.order(_WHO))

    def _restore(self) -> str:
        order = planned(self.app, self.backup, who=_WHO)
        return self.backups.orders.start(self.app, order)

    def _undo(self) -> str:
        order = verbs.undo.order(self.backups.history, _WHO, self._restored(), granted=True)
        return self.backups.orders.start(self.app, order)

    def _kill(
        self, victim: str, operation: str, recovery: subprocess.Popen[str] | None
    ) -> Callable[[], object]:
        """Returns what starts it again."""
        if victim == "worker":
            if recovery is None:
                return self._kill_worker(operation)
            with suppress(ProcessLookupError):
                os.killpg(recovery.pid, signal.SIGKILL)
            return lambda: None
        if victim == "database":
            self._kill_backend()
            return lambda: None
        if victim == "web":
            self.cluster.kill(WEB[0])
            return lambda: self.cluster.start(WEB[0])
        if victim == "broker":
            self.cluster.broker.stop()
            return self.cluster.broker.start
        self.store.kill()
        return self.store.start

    def _kill_worker(self, operation: str) -> Callable[[], object]:
        received = (name for name in WORKERS if f"{operation}] received" in self.cluster.log(name))
        name = next(received, WORKERS[0])
        self.cluster.kill(name)
        return lambda: self.cluster.start(name)

    def _kill_backend(self) -> None:
        """The one that holds the operation's life: the server ends all others with it. Before an
        operation has one, and after its end, it is any."""
        database = sa.make_url(self.cluster.uri).database
        found = self.cluster.postgresql.execute(
            "SELECT pid FROM pg_stat_activity LEFT JOIN pg_locks USING (pid) "
            f"WHERE datname = '{database}' ORDER BY locktype = 'advisory' DESC NULLS LAST LIMIT 1"
        )
        for (pid,) in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Store:
    """The server of the bucket, which keeps it in a folder and can be killed; and the bucket."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._process = stack.enter_context(s3.localbucket(folder))
        self.server, self._front = stack.enter_context(s3.between(self._process, metadata=True))
        self.bucket = ""

    def kill(self) -> None:
        assert self._process.process is not None
        self._process.process.kill()
        self._process.process.wait()

    def start(self) -> None:
        self._process = self._stack.enter_context(s3.localbucket(self._folder))
        self._front.behind = self._process.endpoint

    def keys(self) -> dict[str, str]:
        """The objects of the registry, with their ETags."""
        return self.server.tags(self.bucket, "files/")


@contextmanager
def clustered() -> Iterator[Clustered]:
    """One that is ready. Raises RuntimeError where it does not work undisturbed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-cluster-")))
        (folder / "store").mkdir()
        store = Store(folder / "store", stack)
        settings = {"FLASK_HEXHUB_BACKUP_WORKER_TIMEOUT": _TAKEN}
        found = stack.enter_context(cluster(S3Server(store.server.endpoint), settings=settings))
        store.bucket = found.environment["HOST_APP_DEPOT"].removeprefix("s3://").partition("/")[0]
        stack.enter_context(patch.dict(os.environ, found.environment))
        app = create_app(folder / "host", {"HEXHUB_BACKUP_TICK_THREAD": False})
        stack.enter_context(app.app_context())
        backups_of(app).prepare(app)
        stack.callback(db.engine.dispose)
        stack.callback(db.session.remove)
        yield Clustered(found, app, store)


def scenario(verb: str) -> str:
    return f"{verb} in a cluster"


def fault(victim: str) -> str:
    return f"{victim} killed"


def torture_clustered(
    kills: int, has: Callable[[str, str, int], bool]
) -> Iterator[tuple[Row, float]]:
    """Kill each so often in each verb, or its part of it; rows that the table has are left out.
    Gives each row, and after how many seconds the slowest operation had its final state."""
    wanted = [
        (verb, victim, max(1, kills * share // 20))
        for verb in VERBS
        for victim, share in VICTIMS.items()
    ]
    todo = [each for each in wanted if not has(scenario(each[0]), fault(each[1]), each[2])]
    if not todo:
        return
    with clustered() as found:
        for verb, victim, times in todo:
            started = time.monotonic()
            row, slowest = Row(scenario(verb), fault(victim), times), 0.0
            for number in range(times):
                state, took, problems = found.attempt(verb, victim)
                slowest = max(slowest, took)
                row.points += 1
                row.hit += 1
                row.before += state == "before"
                row.after += state == "after"
                row.failures += [f"kill no. {number}: {each}" for each in problems]
            row.seconds = time.monotonic() - started
            yield row, slowest
