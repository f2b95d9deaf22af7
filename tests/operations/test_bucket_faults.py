"""A bucket that fails: at each request of create, restore and undo, and of both recoveries, a
server that answers wrongly, late, twice or not at all, and a process that is killed there.

In the matrix each request comes to one of these answers, and a process is killed at some; in `make
torture` each request comes to all of them.

Afterwards the registry is as before or as after, and nothing is left over.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app import files
from examples.host_app.models import db
from hexhub_backup import S3Storage, verbs
from hexhub_backup.errors import BackupError, InterruptedOperationError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.storage import s3_objects
from tests.support import extent
from tests.support.hosts import ADA, make_app, planned, rows
from tests.support.instance import Instance
from tests.support.killer import Killer
from tests.support.patience import wait_for
from tests.support.s3 import KEYS, Between, Fate, S3Server, between
from tests.support.stored import HostBucket

#: What becomes of one of the attempts of a request, where so many are made.
FATES: tuple[tuple[Fate, int], ...] = (
    (500, 1),
    ("503 SlowDown", 1),
    ("hang", 1),
    ("short", 1),
    ("twice", 1),
    ("lost", 2),
    ("late", 2),
)
#: Of so many requests one is tried, and with each of the fates another one.
STEP = extent.sparse(len(FATES)) if extent.step() == 1 else 25
#: These are odd, as every second process is killed before its request is done.
KILLS = extent.sparse(15)
RECOVERIES = extent.sparse(5)
State = tuple[Any, dict[str, str]]


@dataclass
class World:
    """A host whose files are in a bucket, behind a server that fails at will: as it was `before` a
    restore of its backup, and as that leaves it."""

    app: Flask
    instance: Instance
    server: S3Server
    seen: Between
    bucket: HostBucket
    versions: bool
    backup: str = ""
    before: State = field(default_factory=lambda: ({}, {}))
    after: State = field(default_factory=lambda: ({}, {}))
    restored: str = ""
    hangs: bool = False
    #: What is in the addresses of the files that a restore places, and of the one it replaces.
    placed: str = ""
    replaced: str = ""

    @property
    def backups(self) -> Backups:
        return backups_of(self.app)

    def keys(self) -> dict[str, str]:
        """All objects, with their ETags."""
        return self.server.tags(self.bucket.bucket, "files/")

    def state(self) -> State:
        found = {key: tag for key, tag in self.keys().items() if not key.startswith(".hexhub")}
        return rows(), found

    def damage(self) -> None:
        """A release that is gone with its files, one whose row and file differ, and one that has
        lost its file."""
        client = self.server.client()
        with db.engine.begin() as connection:
            gone, other, lost = connection.execute(
                sa.text(
                    "SELECT releases.id, packages.name, version FROM releases JOIN packages ON "
                    "packages.id = package_id WHERE source = 'local' ORDER BY 1 LIMIT 3"
                )
            ).all()
            connection.execute(sa.text(f"DELETE FROM releases WHERE id = {gone[0]}"))
            connection.execute(sa.text(f"UPDATE releases SET url = '/x' WHERE id = {other[0]}"))
        for folder, each in (("packages", gone), ("docs", gone), ("packages", lost)):
            key = f"files/hosted/{folder}/{each[1]}/{each[1]}-{each[2]}.tar.gz"
            client.delete_object(Bucket=self.bucket.bucket, Key=key)
        self.placed = f"/{gone[1]}-{gone[2]}.tar.gz"
        self.replaced = f"files/hosted/packages/{other[1]}/{other[1]}-{other[2]}.tar.gz"
        client.put_object(Bucket=self.bucket.bucket, Key=self.replaced, Body=b"another")

    def create(self) -> str:
        order = verbs.create.order(ADA)
        return self.backups.orders.run(self.app, order).operation

    def restore(self) -> str:
        order = planned(self.app, self.backup)
        return self.backups.orders.run(self.app, order).operation

    def undo(self) -> str:
        order = verbs.undo.order(self.backups.history, ADA, self.restored, granted=True)
        return self.backups.orders.run(self.app, order).operation

    def killer(self, at: Callable[[int, str], bool], *, done: bool) -> Killer:
        return Killer(self.instance, self.seen, at, done=done)

    @contextmanager
    def impatient(self, attempts: int, timeout: float) -> Iterator[None]:
        """Let each request be tried so often, for so many seconds."""
        storage = self.backups.storage
        assert isinstance(storage, S3Storage)
        server = storage._objects._server
        before = server._attempts, server._timeouts
        server._attempts, server._timeouts = attempts, (60, timeout)
        server._clients.clear()
        try:
            yield
        finally:
            server._attempts, server._timeouts = before
            server._clients.clear()

    def recover(self) -> State:
        """What is there when whoever died or failed was put right, with nothing left over."""
        self.seen.fate = lambda *_: "pass"
        if not self.hangs:
            # What was asked by one that is dead may be done a moment later.
            wait_for(self.seen.is_idle)
        self.backups.prepare(self.app)
        assert list(self.backups.catalog.unsettled_operations()) == []
        state = self.state()
        assert state in (self.before, self.after)
        ours = {key for key in self.keys() if key.startswith(".hexhub")}
        # Whoever dies while it tries the server leaves what it tried, for the bucket's rule.
        ours = {key for key in ours if "/probe/" not in key}
        assert {key.split("/")[1] for key in ours} <= {"undo"}
        client = self.server.client()
        uploads = client.list_multipart_uploads(Bucket=self.bucket.bucket)
        assert uploads.get("Uploads", []) == []
        if state == self.before:
            assert ours == set()
        return state

    def at(self, wanted: State) -> None:
        """Bring the host there, with a server that works."""
        if self.recover() != wanted:
            if wanted == self.after:
                self.restored = self.restore()
            else:
                self.restored = self._latest()
                self.undo()
        if wanted == self.after:
            self.restored = self._latest()
        assert self.recover() == wanted

    def _latest(self) -> str:
        return next(
            each.id
            for each in self.backups.history.operations()
            if (each.verb, each.state) == ("restore", "completed")
        )


@pytest.fixture(params=["plain", pytest.param("versions", marks=pytest.mark.matrix)])
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    moto: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    for name, value in zip(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS.values(), strict=True
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(files, "S3Storage", partial(S3Storage, connections=4))
    with between(moto) as (front, seen):
        versions = request.param == "versions"
        bucket = HostBucket(moto.bucket(versions=versions), front.endpoint)
        app = make_app(tmp_path / "host", bucket.config)
        with app.app_context():
            instance = Instance(tmp_path / "host", None, bucket)
            world = World(app, instance, moto, seen, bucket, versions)
            world.backup = world.create()
            world.damage()
            world.before = world.state()
            world.restored = world.restore()
            world.after = world.state()
            assert world.before != world.after
            world.at(world.before)
            yield world
            db.session.remove()


def failing(
    world: World,
    do: Callable[[], object],
    at: State,
    to: State,
    fate: Fate,
    attempts: int,
) -> int:
    """Do it as often as it makes requests, and let another one fail each time. It leads from one
    state to another. Returns how many requests it makes where none fails."""
    number = 1 + FATES.index((fate, attempts)) % STEP if (fate, attempts) in FATES else 1
    while True:
        world.at(at)
        world.seen.requests.clear()
        world.seen.fate = lambda count, _, failing=number: fate if count == failing else "pass"  # type: ignore[misc]
        with world.impatient(attempts, 1.5 if fate in ("hang", "late") else 60):
            error = told(do)
        made = len(world.seen.requests)
        has_happened = error is None or isinstance(error, InterruptedOperationError)
        assert world.recover() == (to if has_happened else at), error
        if made >= number:
            number += STEP
        elif error is None:
            return made
        # On a busy machine an earlier one may have been given up: then it is its turn once more.


def told(do: Callable[[], object]) -> BaseException | None:
    try:
        do()
    except (BackupError, OSError) as error:
        return error
    return None


@pytest.mark.parametrize(
    ("world", "fate", "attempts"),
    [
        ("plain", "lost", 1),
        *(
            pytest.param(bucket, *each, marks=pytest.mark.matrix)
            for bucket, *each in (("versions", "lost", 1), *(("plain", *each) for each in FATES))
        ),
    ],
    indirect=["world"],
)
def test_any_request_may_fail(
    world: World, fate: Fate, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_objects, "_READS", attempts)
    world.hangs = fate == "hang"
    before, after = world.before, world.after
    assert failing(world, world.create, before, before, fate, attempts) > 5
    assert failing(world, world.restore, before, after, fate, attempts) > 20
    assert failing(world, world.undo, after, before, fate, attempts) > 20


def killed(world: World, arguments: Callable[[], tuple[str, ...]], at: State, to: State) -> int:
    """Run a command as often as it makes requests, and kill it at another one each time.
    Returns how many requests it makes where it is left alone."""
    # Not the same requests in both buckets.
    number = 1 + (KILLS // 2 if world.versions else 0)
    while True:
        world.at(at)
        killer = world.killer(lambda count, _, at=number: count == at, done=number % 2 == 0)  # type: ignore[misc]
        code = killer.run(*arguments())
        made = len(world.seen.requests)
        assert code == (-signal.SIGKILL if killer.hit else 0)
        state = world.recover()
        if not killer.hit:
            assert state == to
            return made
        number += KILLS


@pytest.mark.matrix
def test_a_process_may_be_killed_at_any_request(world: World) -> None:
    restoring = ("restore", world.backup, "--strategy", "overwrite", "--grant-protected", "--yes")
    before, after = world.before, world.after
    assert killed(world, lambda: ("create",), before, before) > 5
    assert killed(world, lambda: restoring, before, after) > 20
    undoing = ("--grant-protected", "--yes")
    assert killed(world, lambda: ("undo", world.restored, *undoing), after, before) > 20


@pytest.mark.matrix
@pytest.mark.parametrize("decided", [False, True])
def test_a_recovery_may_be_killed_at_any_request(world: World, decided: bool) -> None:
    """Of a restore that was killed when it placed a file, and when it replaced one."""
    restoring = ("restore", world.backup, "--strategy", "overwrite", "--grant-protected", "--yes")
    number = 1
    while True:
        world.at(world.before)
        seen: list[str] = []

        def dies(_: int, request: str, seen: list[str] = seen) -> bool:
            if decided:
                return request.startswith("PUT") and world.replaced in request
            if request.startswith("PUT") and world.placed in request:
                seen.append(request)
            # The second of its files.
            return len(seen) == 2

        assert world.killer(dies, done=True).run(*restoring) == -signal.SIGKILL
        killer = world.killer(lambda count, _, at=number: count == at, done=number % 2 == 0)  # type: ignore[misc]
        killer.run("operations")
        made = len(world.seen.requests)
        assert world.recover() == (world.after if decided else world.before)
        if not killer.hit:
            break
        number += RECOVERIES
    assert made > 5
