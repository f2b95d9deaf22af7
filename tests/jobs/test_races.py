"""A host that is used while it is backed up and restored.

Nothing here hangs on who is quicker: each round checks what has to be true in every order, and
the orders that matter most are forced."""

from __future__ import annotations

import itertools
import json
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.errors import ChangedError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice, Strategy
from tests.support.directory import depot_of
from tests.support.hosts import restored
from tests.support.instance import Instance
from tests.support.patience import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("database")

WHO = Who(actor=ADMIN)
PREFIX = "/admin/backups"
#: Packages of the publishers are called so; nobody else touches these.
RACER = "racer_"
#: MariaDB's number of it.
DEADLOCK = 1213


# --- publishing while a backup and a restore run ---------------------------------------------


def content_of(package: str, version: str) -> bytes:
    """What the file of a racer's release holds, whoever published it and whenever."""
    return f"{package} {version} ".encode() * 1500


class Publisher(threading.Thread):
    """Publishes and deletes releases of a package of its own, as a host does that wants rows and
    files to agree: the row is written first, the file before the row is committed."""

    def __init__(self, app: Flask, number: int, over: threading.Event) -> None:
        super().__init__(name=f"publisher {number}")
        self.package = f"{RACER}{number}"
        #: Held over each publishing and each deletion.
        self.gate = threading.Lock()
        self.failure: BaseException | None = None
        self.done = 0
        self._over = over
        self._chance = random.Random(number)
        self._folder = Path(app.config["HOST_APP_STORAGE"], "hosted/packages", self.package)
        with app.app_context():
            self._engine = db.engine
            package = Package(name=self.package, meta={}, html_url="")
            db.session.add(package)
            db.session.commit()
            self._id = package.id
            db.session.remove()

    def run(self) -> None:
        versions: list[str] = []
        try:
            for number in itertools.count():
                # Rarely an old one, as each that is in a plan makes that one untrue.
                if len(versions) > 3 and self._chance.random() < 0.5:
                    old = self._chance.random() < 0.1
                    self.delete(versions.pop(0 if old else -1))
                else:
                    versions.append(f"1.{number}.0")
                    self.publish(versions[-1])
                self.done += 1
                if self._over.wait(0.02):
                    return
        except BaseException as error:
            self.failure = error

    def path(self, version: str) -> Path:
        return self._folder / f"{self.package}-{version}.tar.gz"

    def has_published(self, least: int) -> bool:
        return self.done >= least

    def publish(self, version: str) -> None:
        path = self.path(version)
        row = {"package_id": self._id, "version": version, "meta": {}, "requirements": {}}

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.insert(Release).values(**row))
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(content_of(self.package, version))
            part.replace(path)

        self._commit(work)

    def delete(self, version: str) -> None:
        def work(connection: sa.Connection) -> None:
            connection.execute(
                sa.delete(Release).where(Release.package_id == self._id, Release.version == version)
            )
            self.path(version).unlink(missing_ok=True)

        self._commit(work)

    def _commit(self, work: Callable[[sa.Connection], None]) -> None:
        """Again after a deadlock, as each host on InnoDB has to."""
        while True:
            try:
                with self.gate, self._engine.begin() as connection:
                    return work(connection)
            except sa.exc.OperationalError as error:
                if error.orig is None or error.orig.args[0] != DEADLOCK:
                    raise


@contextmanager
def publishing(app: Flask, count: int = 4) -> Iterator[list[Publisher]]:
    over = threading.Event()
    publishers = [Publisher(app, number, over) for number in range(count)]
    for each in publishers:
        each.start()
    try:
        yield publishers
    finally:
        over.set()
        for each in publishers:
            each.join(PATIENCE)
    assert [each.failure for each in publishers] == [None] * count


@contextmanager
def quiet(publishers: list[Publisher]) -> Iterator[None]:
    """Nobody is in the middle of anything, and nobody begins."""
    with ExitStack() as held:
        for each in publishers:
            held.enter_context(each.gate)
        yield


def racing_releases(connection: sa.Connection) -> set[tuple[str, str]]:
    rows = connection.execute(
        sa.select(Package.name, Release.version)
        .join(Release, Release.package_id == Package.id)
        .where(Package.name.startswith(RACER))
    )
    return {(name, version) for name, version in rows}


def racers(app: Flask, fileless: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The racers' releases; each has its whole file, and no file is without its release.

    `fileless` are those that an archive lists as missing: it brings their rows back alone.
    """
    with db.engine.connect() as connection:
        found = racing_releases(connection)
    folder = Path(app.config["HOST_APP_STORAGE"], "hosted/packages")
    stored = {
        (path.parent.name, path.name[len(path.parent.name) + 1 : -len(".tar.gz")]): path
        for path in folder.glob(f"{RACER}*/*")
    }
    assert stored.keys() <= found
    assert found - stored.keys() <= fileless
    for key, path in stored.items():
        assert path.read_bytes() == content_of(*key)
    return found


def others(instance: Instance) -> tuple[Any, ...]:
    """All that is not the racers': what a restore alone changes."""
    rows, files = instance.registry()
    names = {row[0]: row[1] for row in rows["packages"]}
    rows["packages"] = [row for row in rows["packages"] if not row[1].startswith(RACER)]
    # Without their own ids, which hang on what the racers did.
    rows["releases"] = sorted(
        (row[1:] for row in rows["releases"] if not names[row[1]].startswith(RACER)), key=repr
    )
    return rows, {name: digest for name, digest in files.items() if RACER not in name}


def check_archive(path: Path, fileless: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Every release in it has its whole file or is listed as missing; gives the racers', and adds
    to `fileless`."""
    with tarfile.open(path) as tar:
        data = {
            member.name: file.read()
            for member in tar.getmembers()
            if (file := tar.extractfile(member)) is not None
        }
    missing = set(json.loads(data["manifest.json"])["missing_files"])
    racing = set()
    wanted = set()
    for release in json.loads(data["releases.json"]):
        key = (release["package_name"], release["version"])
        name = f"packages/{key[0]}-{key[1]}.tar.gz"
        wanted.add(name)
        assert (name in data) is not (name in missing), name
        if key[0].startswith(RACER):
            racing.add(key)
            if name in missing:
                fileless.add(key)
            else:
                assert data[name] == content_of(*key)
    assert {name for name in data if name.startswith("packages/") and name[-3:] == ".gz"} <= wanted
    return racing


def break_something(instance: Instance, round_: int) -> None:
    """An account and a file that differ, and a file that is lost."""
    with instance.database() as connection:
        connection.exec_driver_sql(f"UPDATE users SET email = 'round{round_}@x.org' WHERE id = 2")
    files = sorted(
        path
        for path in (instance.storage / "hosted/packages").rglob("*.gz")
        if not path.name.startswith(RACER)
    )
    files[round_ % len(files)].unlink()
    files[(round_ + 1) % len(files)].write_bytes(b"another file")


#: What happens between the plan and the restore, and with which strategy.
ROUNDS: list[tuple[str, Strategy]] = [
    ("the host goes on", "overwrite"),
    ("a release is deleted", "overwrite"),
    ("the host pauses", "skip"),
    ("a release is published again", "skip"),
    ("the host pauses", "overwrite"),
]


def test_a_host_that_is_used_is_backed_up_and_restored(host: Flask, instance: Instance) -> None:
    backups = backups_of(host)
    fileless: set[tuple[str, str]] = set()
    with publishing(host) as publishers:
        for round_, (meanwhile, strategy) in enumerate(ROUNDS):
            for each in publishers:
                wait_for(partial(each.has_published, each.done + 5))
            sound = others(instance)
            made = backups.orders.run(host, verbs.create.order(WHO)).operation
            archived = check_archive(depot_of(backups).archive(made), fileless)
            assert archived
            if meanwhile == "a release is published again":
                gone = delete_one(publishers, archived)
            break_something(instance, round_)
            broken = others(instance)
            with ExitStack() as paused:
                if meanwhile == "the host pauses":
                    paused.enter_context(quiet(publishers))
                choice = Choice(strategy=strategy)
                plan = backups.orders.run(
                    host, verbs.inspect.order(backups.history, WHO, made, choice)
                ).operation
                if meanwhile == "a release is deleted":
                    delete_one(publishers, archived)
                elif meanwhile == "a release is published again":
                    gone[0].publish(gone[1])
                before = racers(host, fileless) if meanwhile == "the host pauses" else set()
                try:
                    done = backups.orders.run(host, verbs.restore.order(backups.plans, WHO, plan))
                except ChangedError:
                    assert meanwhile != "the host pauses"
                    assert others(instance) == broken
                else:
                    assert meanwhile in ("the host goes on", "the host pauses")
                    check_restored(instance, sound, broken, strategy)
                    assert done.outcome["records"]["users"]["skipped"] == (strategy == "skip")
                    if meanwhile == "the host pauses":
                        assert racers(host, fileless) == before | archived
            with quiet(publishers):
                racers(host, fileless)
            assert instance.leftovers() == []
            # The next round begins with a registry that is whole.
            if others(instance) != sound:
                with quiet(publishers):
                    restored(host, made, who=WHO, protected=False)
                assert others(instance) == sound
    racers(host, fileless)


def delete_one(
    publishers: list[Publisher], archived: set[tuple[str, str]]
) -> tuple[Publisher, str]:
    """Delete a release that an archive has, and that is still there."""
    with db.engine.connect() as connection:
        package, version = min(archived & racing_releases(connection))
    publisher = next(each for each in publishers if each.package == package)
    publisher.delete(version)
    return publisher, version


def check_restored(
    instance: Instance, sound: tuple[Any, ...], broken: tuple[Any, ...], strategy: str
) -> None:
    rows, files = others(instance)
    if strategy == "overwrite":
        assert (rows, files) == sound
        return
    # What differs stays, and what was lost is back.
    assert rows == broken[0]
    lost = sound[1].keys() - broken[1].keys()
    assert files == {**broken[1], **{name: sound[1][name] for name in lost}}


# --- what a dead process and a wrong clock leave ----------------------------------------------
