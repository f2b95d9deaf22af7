"""A depot in a bucket that fails, at each of its requests: and processes that are killed there.

Several tests share the requests of an operation. In the matrix some of these run, with each fate
and each strategy another share; in `make torture` all of them do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.archive.source import Reading
from hexhub_backup.depot.base import Depot, UploadInfo
from hexhub_backup.depot.s3 import BucketDepot
from hexhub_backup.errors import BackupError, NotFoundError
from hexhub_backup.operations import commit_protocol
from hexhub_backup.verbs.base import Order
from tests.support.depots import Open, bucket_depot, on, read, run
from tests.support.hosts import ADA, change_something, dump, planned, without_ids
from tests.support.s3 import Between, Fate, S3Server, between
from tests.support.stored import root_of

#: More than a part of a bucket's, in files of which some are larger than what is read at a time.
pytestmark = [pytest.mark.matrix, pytest.mark.host(packages=3, releases=2, file_size=1_500_000)]
#: How many tests share the requests of an operation.
_SHARES = 4
_FATES: tuple[Fate, ...] = (500, "lost", "twice", "hang", "short", "403 AccessDenied")
_STRATEGIES = ("skip", "overwrite", "fail")


def shares(name: str, values: Sequence[object], *, shift: int = 0) -> pytest.MarkDecorator:
    """All shares with each of the values: in the matrix one of them, another one with the next."""
    return pytest.mark.parametrize(
        (name, "share"),
        [
            pytest.param(
                value,
                share,
                marks=[] if share == (number + shift) % _SHARES else pytest.mark.torture,
            )
            for number, value in enumerate(values)
            for share in range(_SHARES)
        ],
    )


@pytest.fixture
def proxied(moto: S3Server, tmp_path: Path) -> Iterator[tuple[BucketDepot, Between, Open]]:
    """A depot whose requests go through a server that fails where a test wants it to, and what
    opens it on other machines, around that server."""
    bucket, shared = moto.bucket(), tmp_path / "shared"
    with between(moto) as (server, line):
        yield (
            bucket_depot(server, bucket, tmp_path / "one", shared, read_timeout=5),
            line,
            lambda machine: bucket_depot(moto, bucket, tmp_path / machine, shared),
        )


def requests_of(line: Between, app: Flask, depot: Depot, order: Order) -> int:
    """How many requests an order takes where nothing goes wrong."""
    before = len(line.requests)
    run(app, depot, order)
    return len(line.requests) - before


@contextmanager
def failing(line: Between, number: int, fate: Fate) -> Iterator[None]:
    """Let the request of a number, and where it is asked again none, come to this."""
    first = len(line.requests)
    line.fate = lambda at, _: fate if at == first + number else "pass"
    try:
        yield
    finally:
        line.fate = lambda _number, _request: "pass"


def assert_nothing_is_left(app: Flask, opens: Open, kept: list[str]) -> None:
    """On a machine that looks after it: only these backups, each good, and no half of anything."""
    with on(app, opens("after")) as backups:
        backups.prepare(app)
        assert sorted(backups.depot.archives()) == sorted(kept)
        for backup in kept:
            assert backups.history.backup(backup).intact
        assert [each.state for each in backups.catalog.unsettled_operations()] == []
        assert list(uploads_in(opens("after"))) == []


def uploads_in(depot: Depot) -> Iterator[str]:
    assert isinstance(depot, BucketDepot)
    return (key for key, _, _ in depot._objects.uploads(""))


def content(depot: Depot, backup: str) -> bytes:
    with depot.source(depot.archive_name(backup)) as source:
        reading = Reading(source)
        return b"".join(iter(lambda: reading.read(1 << 20), b""))


def shared(share: int, count: int) -> range:
    """The numbers of requests that are a test's, of so many."""
    return range(share + 1, count + 1, _SHARES)


@shares("fate", _FATES)
def test_a_create_whose_request_fails_is_whole_or_leaves_nothing(
    app: Flask, proxied: tuple[BucketDepot, Between, Open], fate: Fate, share: int
) -> None:
    depot, line, opens = proxied
    count = requests_of(line, app, depot, verbs.create.order(ADA))
    with on(app, depot) as backups:
        kept = [each.id for each in backups.history.backups()]
    for number in shared(share, count):
        order = verbs.create.order(ADA)
        with failing(line, number, fate):
            try:
                run(app, depot, order)
            except BackupError:
                assert fate == "403 AccessDenied", "a request that fails once is made again"
            else:
                kept.append(order.id)
        assert_nothing_is_left(app, opens, kept)


@pytest.mark.parametrize("fate", [500, "lost", "twice", "403 AccessDenied"])
def test_an_upload_whose_request_fails_becomes_the_archive_or_does_not(
    app: Flask, proxied: tuple[BucketDepot, Between, Open], fate: Fate
) -> None:
    depot, line, opens = proxied
    data = b"archive" * 4_000_000

    def bring(backup: str) -> None:
        name = depot.new_work_file(backup)
        with depot.work_file(name, 4) as file:
            file.write(data)
            file.complete()
        depot.publish(name, backup)

    before = len(line.requests)
    bring("first")
    for number in range(1, len(line.requests) - before + 1):
        with failing(line, number, fate):
            try:
                bring(f"backup-{number}")
            except BackupError:
                assert fate == "403 AccessDenied", "a request that fails once is made again"
                assert not opens("two").is_there(depot.archive_name(f"backup-{number}"))
            else:
                assert content(depot, f"backup-{number}") == data


RESUMED = b"archive" * 3_000_000


def resume(depot: Depot, name: str) -> None:
    """Go on with an upload to its end, in pieces that are none of a bucket's parts."""
    with depot.resumable(name, alone=True) as upload:
        while upload.offset < len(RESUMED):
            upload.write(RESUMED[upload.offset : upload.offset + 3_000_000])
            upload.keep()
        upload.complete()


def begun(depot: Depot, name: str) -> str:
    depot.new_resumable(name, UploadInfo(len(RESUMED), "ada", ""))
    return name


#: The others are tried by `make torture`.
_SELDOM = [
    pytest.param(fate, marks=pytest.mark.torture) for fate in (500, "twice", "403 AccessDenied")
]


@pytest.mark.parametrize("fate", ["lost", *_SELDOM])
def test_a_resumable_upload_whose_request_fails_is_resumed_where_it_ended(
    proxied: tuple[BucketDepot, Between, Open], fate: Fate
) -> None:
    depot, line, opens = proxied
    name = begun(depot, "first")
    before = len(line.requests)
    resume(depot, name)
    for number in range(1, len(line.requests) - before + 1):
        name = begun(depot, f"upload-{number}")
        with failing(line, number, fate):
            try:
                resume(depot, name)
            except BackupError:
                assert fate == "403 AccessDenied", "a request that fails once is made again"
        resume(opens("two"), name)
        assert read(depot, depot.upload_name(name)) == RESUMED


# kills


def test_a_resumable_upload_that_is_killed_at_a_request_is_resumed_where_it_ended(
    app: Flask, proxied: tuple[BucketDepot, Between, Open]
) -> None:
    depot, line, opens = proxied
    number, is_hit = 0, True
    while is_hit:
        number += 1
        name = begun(depot, f"upload-{number}")
        is_hit = killed_at(line, number, app, lambda name=name: resume(depot, name))  # type: ignore[misc]
        resume(opens("two"), name)
        assert read(depot, depot.upload_name(name)) == RESUMED
    assert number > 10


def killed_at(line: Between, number: int, app: Flask, do: Callable[[], object]) -> bool:
    """Do something in a process that is killed when its request of a number is under way; there is
    none of the number 0. False where it has ended before."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)
        code = 0
        try:
            with app.app_context():
                db.engine.dispose(close=False)
            do()
        except BaseException:
            code = 1
        finally:
            sys.stderr.flush()
            os._exit(code)
    first = len(line.requests)

    def fate(at: int, _: str) -> Fate:
        if at == first + number:
            os.kill(child, signal.SIGKILL)
        return "pass"

    line.fate = fate
    os.close(ready)
    os.write(go, b"!")
    os.close(go)
    _, status = os.waitpid(child, 0)
    line.fate = lambda _number, _request: "pass"
    return os.WIFSIGNALED(status)


class World:
    """A host that has a backup and has changed since, in ways that a strategy takes."""

    def __init__(
        self, app: Flask, proxied: tuple[BucketDepot, Between, Open], strategy: str
    ) -> None:
        self.app, self.strategy = app, strategy
        self.depot, self.line, self.opens = proxied
        self.backup = run(app, self.depot, verbs.create.order(ADA))
        with on(app, self.opens("two")) as backups:
            if strategy != "fail":
                change_something()
            db.session.execute(sa.text("DELETE FROM owners WHERE id = 1"))
            db.session.commit()
            next(root_of(backups.storage).rglob("hosted/**/*.tar.gz")).unlink()
            self.before = self.state()
        self.requests = requests_of(self.line, app, self.depot, self.restore())
        with on(app, self.opens("two")):
            self.after = self.state()
        assert self.before != self.after
        self.back()

    def state(self) -> Any:
        """Of the registry, whose new rows may have other ids."""
        tables, files = dump(self.app)
        return without_ids(tables), files

    def restore(self) -> Order:
        with on(self.app, self.opens("two")):
            return planned(self.app, self.backup, strategy=self.strategy)

    def restored(self) -> str:
        """The restore that has happened last."""
        with on(self.app, self.opens("two")) as backups:
            return next(
                each.id
                for each in backups.history.operations()
                if (each.verb, each.state) == ("restore", "completed")
            )

    def undo(self) -> Order:
        restored = self.restored()
        with on(self.app, self.opens("two")) as backups:
            return verbs.undo.order(backups.history, ADA, restored, granted=True)

    def back(self) -> None:
        """Undo a restore that has happened."""
        run(self.app, self.opens("two"), self.undo())
        with on(self.app, self.opens("two")):
            assert self.state() == self.before

    def killed(self, number: int, order: Order) -> bool:
        return killed_at(self.line, number, self.app, lambda: run(self.app, self.depot, order))

    def recovered(self, order: Order) -> tuple[str, Any]:
        """How an order has ended, and where that has led, with nothing left over."""
        assert_nothing_is_left(self.app, self.opens, [self.backup])
        with on(self.app, self.opens("three")) as backups:
            found, state = self.state(), "never begun"
            with suppress(NotFoundError):
                state = backups.catalog.operation(order.id).state
        assert found in (self.before, self.after)
        return state, found


@pytest.mark.parametrize("share", range(_SHARES))
def test_a_create_that_is_killed_at_a_request_leaves_nothing(
    app: Flask, proxied: tuple[BucketDepot, Between, Open], share: int
) -> None:
    depot, line, opens = proxied
    first = verbs.create.order(ADA)
    count = requests_of(line, app, depot, first)
    hit = 0
    for number in shared(share, count):
        order = verbs.create.order(ADA)
        hit += killed_at(line, number, app, lambda order=order: run(app, depot, order))  # type: ignore[misc]
        assert_nothing_is_left(app, opens, [first.id])
    assert hit


@shares("strategy", _STRATEGIES)
def test_a_restore_that_is_killed_at_a_request_is_all_or_nothing(
    app: Flask, proxied: tuple[BucketDepot, Between, Open], strategy: str, share: int
) -> None:
    world = World(app, proxied, strategy)
    hit = 0
    for number in shared(share, world.requests):
        order = world.restore()
        hit += world.killed(number, order)
        state, found = world.recovered(order)
        assert (state == "completed") == (found == world.after)
        if found == world.after:
            world.back()
    assert hit


@shares("strategy", ["overwrite"], shift=3)
def test_an_undo_that_is_killed_at_a_request_is_all_or_nothing(
    app: Flask, proxied: tuple[BucketDepot, Between, Open], strategy: str, share: int
) -> None:
    world = World(app, proxied, strategy)
    run(app, world.opens("two"), world.restore())
    count = requests_of(world.line, app, world.depot, world.undo())
    assert count > 0
    for number in shared(share, count):
        run(app, world.opens("two"), world.restore())
        order = world.undo()
        world.killed(number, order)
        state, found = world.recovered(order)
        assert (state == "completed") == (found == world.before)
        if found == world.after:
            world.back()


@pytest.mark.parametrize("decided", [True, False])
def test_a_recovery_that_is_killed_at_a_request_is_done_by_the_next_one(
    app: Flask,
    proxied: tuple[BucketDepot, Between, Open],
    monkeypatch: pytest.MonkeyPatch,
    decided: bool,
) -> None:
    world = World(app, proxied, "overwrite")
    number, is_hit = 0, True
    while is_hit:
        number += 1
        order = world.restore()
        with monkeypatch.context() as patch:
            # Nothing of it reaches this process: it dies in the one that is forked off.
            where: Any = commit_protocol if decided else commit_protocol.Commit
            name = "finish" if decided else "decide"
            patch.setattr(where, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            assert world.killed(0, order)

        def recover() -> None:
            with on(app, world.depot) as backups:
                backups.prepare(app)

        is_hit = killed_at(world.line, number, app, recover)
        state, found = world.recovered(order)
        assert state == ("completed" if decided else "interrupted")
        assert found == (world.after if decided else world.before)
        if decided:
            world.back()
    assert number > 3
