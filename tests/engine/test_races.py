"""A host that is used while it is backed up and restored, and many who want the same backup.

Nothing here hangs on who is quicker: each round checks what has to be true in every order, and
the orders that matter most are forced."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app import create_app
from examples.host_app.models import Package, Release, db
from examples.host_app.seed import ADMIN, seed
from hexhub_backup.errors import BusyError, ChangedError, NotFoundError, PruneRefusedError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.verbs import Backups, Who
from hexhub_backup.operations.choice import Choice, Strategy
from tests.conftest import NewDatabase
from tests.example.people import sign_in, token
from tests.instance import ROOT, Instance

WHO = Who(actor=ADMIN)
PREFIX = "/admin/backups"
#: Packages of the publishers are called so; nobody else touches these.
RACER = "racer_"
PATIENCE = 60.0


def backups_of(app: Flask) -> Backups:
    found: Backups = app.extensions["hexhub_backup"]
    return found


@pytest.fixture
def instance(tmp_path: Path, database: NewDatabase) -> Instance:
    return Instance(tmp_path / "host", database())


@pytest.fixture
def host(instance: Instance) -> Iterator[Flask]:
    config = {} if instance.uri is None else {"SQLALCHEMY_DATABASE_URI": instance.uri}
    app = create_app(instance.path, config)
    with app.app_context():
        seed(users=4, packages=3, releases=2, file_size=0)
        db.session.remove()
        backups_of(app).prepare(app)
        yield app
        db.session.remove()
        db.engine.dispose()


def restored(app: Flask, name: str) -> None:
    """Plan a restore that makes everything the archive's, and do it."""
    backups = backups_of(app)
    plan = backups.run(backups.inspect(app, WHO, name, Choice(strategy="overwrite")))
    backups.run(backups.restore(app, WHO, plan.operation))


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

    def publish(self, version: str) -> None:
        path = self.path(version)
        row = {"package_id": self._id, "version": version, "meta": {}, "requirements": {}}
        with self.gate, self._engine.begin() as connection:
            connection.execute(sa.insert(Release).values(**row))
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(content_of(self.package, version))
            part.replace(path)

    def delete(self, version: str) -> None:
        with self.gate, self._engine.begin() as connection:
            connection.execute(
                sa.delete(Release).where(Release.package_id == self._id, Release.version == version)
            )
            self.path(version).unlink(missing_ok=True)


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
                wait_for(lambda each=each, least=each.done + 5: each.done >= least)  # type: ignore[misc]
            sound = others(instance)
            made = backups.run(backups.create(host, WHO)).operation
            archived = check_archive(backups.directory.archive(made), fileless)
            assert archived
            if meanwhile == "a release is published again":
                gone = delete_one(publishers, archived)
            break_something(instance, round_)
            broken = others(instance)
            with ExitStack() as paused:
                if meanwhile == "the host pauses":
                    paused.enter_context(quiet(publishers))
                choice = Choice(strategy=strategy)
                plan = backups.run(backups.inspect(host, WHO, made, choice)).operation
                if meanwhile == "a release is deleted":
                    delete_one(publishers, archived)
                elif meanwhile == "a release is published again":
                    gone[0].publish(gone[1])
                before = racers(host, fileless) if meanwhile == "the host pauses" else set()
                try:
                    done = backups.run(backups.restore(host, WHO, plan))
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
                    restored(host, made)
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


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


# --- one backup, and everybody who wants it ---------------------------------------------------


def signed_in(host: Flask) -> tuple[FlaskClient, str]:
    """A browser of the admin's, and its CSRF token."""
    client = host.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client, token(client, f"{PREFIX}/new")


def many_signed_in(host: Flask, count: int) -> list[tuple[FlaskClient, str]]:
    # In threads without the context of the test: Flask-Login keeps its user there.
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(signed_in, [host] * count))


class Crowd:
    """Many who do something at the same moment, each in a thread of its own."""

    def __init__(self) -> None:
        self._all: list[Callable[[], object]] = []
        self.failures: list[str] = []

    def add(self, do: Callable[[], object]) -> None:
        self._all.append(do)

    def rush(self) -> None:
        barrier = threading.Barrier(len(self._all))

        def one(do: Callable[[], object]) -> None:
            barrier.wait(PATIENCE)
            try:
                do()
            except BaseException as error:
                self.failures.append(repr(error))

        threads = [threading.Thread(target=one, args=(do,)) for do in self._all]
        for each in threads:
            each.start()
        for each in threads:
            each.join(PATIENCE)
        assert self.failures == []


def outdated(backups: Backups, backup: str) -> None:
    """Let a backup have expired ten days ago."""
    made = utc_now() - timedelta(days=40)
    backups.catalog.update_backup(
        backup, created_at=made, expires_at=made + timedelta(days=30), kept=False
    )


def test_all_that_can_be_done_with_a_backup_at_once(host: Flask, instance: Instance) -> None:
    backups = backups_of(host)
    # The newest one is never pruned.
    backups.run(backups.create(host, WHO))
    people = many_signed_in(host, 5)
    lost = next(iter(sorted((instance.storage / "hosted/packages").rglob("*.gz"))))
    kept = lost.read_bytes()
    for round_ in range(4):
        made = backups.run(backups.create(host, WHO)).operation
        outdated(backups, made)
        whole = hashlib.sha256(backups.directory.archive(made).read_bytes()).hexdigest()
        lost.unlink(missing_ok=True)
        known = {each.id for each in backups.operations()}
        crowd = Crowd()

        def download(
            client: FlaskClient, ranged: str | None = None, *, made: str = made, whole: str = whole
        ) -> None:
            headers = {} if ranged is None else {"Range": ranged}
            answer = client.get(f"{PREFIX}/{made}/download", headers=headers)
            assert answer.status_code in (200, 206, 404, 409), answer.status_code
            if answer.status_code == 200:
                assert hashlib.sha256(answer.data).hexdigest() == whole
            elif answer.status_code == 206:
                assert len(answer.data) == 1000
            answer.close()

        def post(who: tuple[FlaskClient, str], verb: str, *, made: str = made) -> None:
            client, csrf = who
            answer = client.post(f"{PREFIX}/{made}/{verb}", data={"csrf_token": csrf})
            assert answer.status_code in (303, 404, 409), answer.status_code
            answer.close()

        def restore(made: str = made) -> None:
            with host.app_context(), suppress(BusyError, NotFoundError):
                restored(host, made)

        def prune() -> None:
            with host.app_context(), suppress(BusyError):
                backups.run(backups.prune(host, WHO))

        def look(client: FlaskClient, made: str = made) -> None:
            for page in ("/", f"/{made}"):
                assert client.get(f"{PREFIX}{page}").status_code in (200, 404)

        crowd.add(lambda: download(people[0][0]))
        crowd.add(lambda: download(people[1][0], "bytes=1000-1999"))
        crowd.add(lambda: post(people[2], "verify"))
        crowd.add(lambda: look(people[3][0]))
        # Each that is left out in a round leaves room to the others.
        for number, each in enumerate((restore, prune, lambda: post(people[4], "delete"))):
            if round_ % 4 != number:
                crowd.add(each)
        crowd.rush()
        wait_for(lambda: backups.catalog.running_operations() == [])
        for operation in backups.operations():
            if operation.id not in known:
                assert operation.state == "completed", (operation.verb, operation.reason)
        rows = {each.id for each in backups.backups()}
        assert rows == set(backups.directory.archives())
        assert instance.leftovers() == []
        happened = any(
            each.verb == "restore" and each.id not in known for each in backups.operations()
        )
        assert lost.exists() is happened
        if happened:
            assert lost.read_bytes() == kept
        if made in rows:
            verified = backups.run(backups.verify(host, WHO, made))
            assert verified.outcome["warnings"] == []
            # Nobody uses it any more: one of these deletes it, and the others take that well.
            crowd = Crowd()
            crowd.add(prune)
            for who in people[:2]:
                crowd.add(lambda who=who: post(who, "delete"))  # type: ignore[misc]
            crowd.rush()
        assert made not in {each.id for each in backups.backups()}
        assert not backups.directory.archive(made).exists()
        lost.write_bytes(kept)


# --- what a dead process and a wrong clock leave ----------------------------------------------

HOLD = """
import sys, time
from examples.host_app import create_app
from hexhub_backup import signals
from hexhub_backup.jobs.verbs import Who

def hold(app, *, event, **extra):
    if event["step"] == sys.argv[2]:
        print("held", flush=True)
        time.sleep(600)

app = create_app()
signals.operation_step.connect(hold, app)
with app.app_context():
    backups = app.extensions["hexhub_backup"]
    job = getattr(backups, sys.argv[1])(app, Who(actor="dead"), *sys.argv[3:])
    backups.run(job)
"""


@pytest.mark.parametrize(("verb", "step"), [("create", "copy_docs"), ("verify", "check_files")])
def test_what_a_dead_process_held_is_free_at_once(
    host: Flask, instance: Instance, verb: str, step: str
) -> None:
    backups = backups_of(host)
    made = backups.run(backups.create(host, WHO)).operation
    command = [sys.executable, "-c", HOLD, verb, step, *([made] if verb == "verify" else [])]
    with subprocess.Popen(
        command, cwd=ROOT, env=instance.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        refused: dict[str, Callable[[], object]] = {
            "create": lambda: backups.run(backups.create(host, WHO)),
            "verify": lambda: backups.delete(host, WHO, made),
        }
        with pytest.raises(BusyError):
            refused[verb]()
        process.send_signal(signal.SIGKILL)
    (dead,) = [each for each in backups.operations() if each.actor == "dead"]
    assert dead.state == "running"
    outdated(backups, made)
    newer = backups.run(backups.create(host, WHO)).operation
    assert backups.run(backups.prune(host, WHO)).outcome["backups"] == [made]
    assert backups.catalog.operation(dead.id).state == "interrupted"
    assert [each.id for each in backups.backups() if each.state == "completed"] == [newer]
    assert instance.leftovers() == []
    assert list((backups.directory.path / "plans").iterdir()) == []


@pytest.mark.parametrize("years", [1, 10, -1])
def test_a_clock_that_jumps_prunes_nothing_that_is_young(
    host: Flask, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    backups = backups_of(host)
    young = [backups.run(backups.create(host, WHO)).operation for _ in range(5)]
    for age, backup in enumerate(reversed(young)):
        made = utc_now() - timedelta(days=age)
        backups.catalog.update_backup(backup, created_at=made, expires_at=made + timedelta(days=30))

    def is_there() -> set[str]:
        return {each.id for each in backups.backups() if not each.file_missing}

    def jumped() -> Any:
        return utc_now() + timedelta(days=365 * years)

    with monkeypatch.context() as patch:
        for module in ("verbs", "remains", "recovery", "runner", "record"):
            patch.setattr(f"hexhub_backup.jobs.{module}.utc_now", jumped, raising=False)
        # One that the wrong clock dates.
        late = backups.run(backups.create(host, WHO)).operation
        due = backups.catalog.due_at("prune")
        for _ in range(2):
            if years > 0:
                with pytest.raises(PruneRefusedError):
                    backups.run(backups.prune(host, WHO))
                # It is not put off.
                assert backups.catalog.due_at("prune") == due
            else:
                assert backups.run(backups.prune(host, WHO)).outcome["backups"] == []
            assert is_there() == {*young, late}
    # The clock is right again. What it dated a year back is a year old.
    gone = {late} if years < 0 else set()
    assert set(backups.run(backups.prune(host, WHO)).outcome["backups"]) == gone
    assert is_there() == {*young, late} - gone
