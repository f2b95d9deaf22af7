"""A disk that becomes full in the middle of each phase: a clear error, and nothing is lost.

Where this may mount one, a file system of 64 MB is filled to its last byte; everywhere, a limit on
the length of files (RLIMIT_FSIZE) lets the system refuse what is written, too."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import Backups
from tests.support import forks
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.postgres import Server
from tests.torture.filling import FILLER, WHO, run, upload
from tests.torture.scenarios import changed_registry
from tests.torture.state import unfinished

#: Bytes: no file that a limit is to spare is as long, and each that it is to stop is longer.
LIMIT = 600_000


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    try:
        yield
    finally:
        # Lazily: whatever a failed test has left open must not keep it there.
        subprocess.run(["umount", "--lazy", place], check=True)


def can_mount() -> bool:
    """Whether this process may: root may not, in some containers."""
    made = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    )
    return made.returncode == 0


def registry(instance: Instance) -> tuple[Any, ...]:
    rows, files = instance.registry()
    return rows, {name: digest for name, digest in files.items() if name != FILLER}


@dataclass(frozen=True)
class Base:
    """A registry that was changed after its archive was made, and what a restore of that archive
    under `overwrite` makes of it."""

    instance: Instance
    archive: Path
    changed: tuple[Any, ...]
    restored: tuple[Any, ...]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")
    instance, archive = changed_registry(
        folder, users=40, packages=4, releases=2, file_size=700_000
    )
    # So many that an undo set of them takes its room.
    with instance.database() as connection:
        connection.exec_driver_sql("UPDATE users SET email = 'of-' || email WHERE id > 1")
    after = Instance(folder / "after")
    shutil.copytree(instance.path, after.path)
    after.backups("restore", str(archive), "--strategy", "overwrite", "--yes")
    return Base(instance, archive, registry(instance), registry(after))


@dataclass(frozen=True)
class Case:
    """`verb` runs, and when `step` begins the disk of `place` becomes full. `ends` are the codes of
    the error that may come, None being none; `says` is in its message."""

    verb: str
    step: str
    place: str
    ends: tuple[str | None, ...]
    says: str = ""

    def __str__(self) -> str:
        return f"{self.verb}-{self.step}-{self.place}"


#: With a file system of one's own.
FILLED = [
    Case("create", "check_space", "backups", ("no_space",), "HEXHUB_BACKUP_PATH"),
    Case("create", "copy_packages", "backups", ("no_space",)),
    Case("create", "write_manifest", "backups", ("no_space",)),
    # The archive is there by then, and the rest takes no room.
    Case("create", "publish", "backups", ("no_space", None)),
    # Storage, database and backups together: what most have.
    Case("create", "copy_packages", ".", ("no_space",)),
    Case("create", "copy_packages", "db", ("database", None)),
    Case("inspect", "read_archive", "backups", ("no_space",)),
    Case("inspect", "compare", "backups", ("no_space",)),
    Case("restore", "check_space", "storage", ("no_space",)),
    Case("restore", "stage_package_files", "storage", ("no_space",)),
    Case("restore", "stage_package_files", ".", ("no_space",)),
    # Nothing is written there but names.
    Case("restore", "restore_owners", "storage", ("no_space", "storage", None)),
    Case("restore", "restore_users", "tmp", ("database", "no_space", None)),
    Case("restore", "restore_owners", "db", ("database",), "full"),
    # The undo set does not fit.
    Case("restore", "stage_package_files", "backups", ("no_space",)),
    # It has happened by then, and what is left to do is done later.
    Case("restore", "place_files", "db", ("interrupted", None)),
    Case("undo", "stage_files", "storage", ("no_space", "storage", None)),
    Case("undo", "stage_records", "db", ("database",), "full"),
    Case("undo", "place_files", "db", ("interrupted", None)),
    Case("upload", "", "backups", ("no_space",)),
]
#: With a limit on the length of files.
LIMITED = [
    Case("create", "copy_packages", "backups", ("no_space",)),
    Case("restore", "stage_package_files", "storage", ("no_space",)),
    Case("upload", "", "backups", ("no_space",)),
]


@dataclass(frozen=True)
class Attempt:
    """A case on a copy of the instance, whose database is in a folder of its own."""

    case: Case
    base: Base
    instance: Instance
    #: What the verb gets: an archive, or the restore that is undone.
    name: str

    @classmethod
    def prepared(cls, case: Case, base: Base, folder: Path) -> Attempt:
        for name in ("db", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copytree(base.instance.path, folder, dirs_exist_ok=True)
        for part in folder.glob("host_app.sqlite3*"):
            shutil.move(part, folder / "db" / part.name)
        instance = Instance(folder, f"sqlite:///{folder / 'db' / 'host_app.sqlite3'}")
        archive = str(base.archive)
        if case.verb != "undo":
            return cls(case, base, instance, archive)
        # Here, as a file that was copied is another one to an undo.
        done = instance.backups("restore", archive, "--strategy", "overwrite", "--yes")
        return cls(case, base, instance, done["id"])

    def end(self, *, happened: bool) -> tuple[Any, ...]:
        """What has to become of the registry."""
        verb, base = self.case.verb, self.base
        return base.restored if (verb, happened) in _RESTORED else base.changed

    def run(self, *how: str) -> Any:
        """Run it in a process of its own, and give what it says."""
        case = self.case
        step = ["--step", case.step] if case.step else []
        environment = self.instance.environment
        done = forks.run(
            *("tests.torture.filling", case.verb, self.name, *step, *how),
            folder=ROOT,
            environment={**environment, "SQLITE_TMPDIR": str(self.instance.path / "tmp")},
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


_PLACES = {"backups": "the backup directory", "storage": "the storage", ".": "the backup directory"}
_RESTORED = {("restore", True), ("undo", False)}


def check(attempt: Attempt, found: Any) -> bool:
    """What has to be true while the disk is full. Gives whether it has happened all the same."""
    case, instance = attempt.case, attempt.instance
    error = found["error"]
    code = None if error is None else error["code"]
    assert code in case.ends, found
    if error is not None:
        assert case.says in error["message"], error
        assert "unexpected" not in error["message"]
    if code == "no_space":
        assert "make room" in error["message"]
        # It says where.
        place = str(instance.path / case.place)
        assert place in error["message"] or _PLACES[case.place] in error["message"], error
    happened = code in (None, "interrupted")
    if code != "interrupted":
        assert registry(instance) == attempt.end(happened=happened)
        assert list(instance.depot.rglob("*.part")) == []
    if code is not None and case.verb == "create":
        assert len(list(instance.depot.glob("*.tar"))) == 1
    if case.verb == "upload":
        assert found["status"] == 507
        assert list((instance.depot / "uploads").iterdir()) == []
    return happened


def unnumbered(found: tuple[Any, ...]) -> tuple[Any, ...]:
    """A registry without the numbers of its releases: PostgreSQL gives none a second time, also
    where the transaction that took it was rolled back."""
    rows, files = found
    return {**rows, "releases": [row[1:] for row in rows["releases"]]}, files


def check_with_room(
    attempt: Attempt,
    *,
    happened: bool,
    same: Callable[[tuple[Any, ...]], tuple[Any, ...]] = lambda found: found,
) -> None:
    """What has to be true as soon as there is room again, and a process looks."""
    case, instance = attempt.case, attempt.instance
    app = create_app(instance.path, {"SQLALCHEMY_DATABASE_URI": instance.uri})
    backups: Backups = app.extensions["hexhub_backup"]
    with app.app_context():
        backups.prepare(app)
        assert registry(instance) == attempt.end(happened=happened)
        assert instance.leftovers() == []
        assert unfinished(instance) == []
        ended = [each.state for each in backups.history.operations() if each.state != "completed"]
        if happened or case.verb == "upload":
            assert ended == []
        elif case.place in ("db", "."):
            # What could not even be recorded is not in the history, and has not begun.
            assert ended in ([], ["failed"], ["interrupted"])
        else:
            assert ended == ["failed"]
        kept = {each.id for each in backups.history.backups() if each.state == "completed"}
        assert kept == set(backups.depot.archives())
        for each in kept if case.verb == "create" else ():
            backups.orders.run(app, verbs.verify.order(backups.history, WHO, each))
        if case.verb not in ("upload", "undo") or not happened:
            run(app, backups, case.verb.replace("upload", "inspect"), attempt.name)
        assert same(registry(instance)) == same(attempt.end(happened=True))
        db.session.remove()
        db.engine.dispose()
    if case.verb == "upload":
        assert upload(app, attempt.base.archive, lambda: None)["status"] == 303
        with app.app_context():
            wait_until_idle(backups)
            db.engine.dispose()


def wait_until_idle(backups: Backups) -> None:
    wait_for(lambda: not backups.catalog.unfinished_operations())


@pytest.mark.parametrize("case", FILLED if can_mount() else [], ids=str)
def test_a_full_file_system(case: Case, base: Base, tmp_path: Path) -> None:
    disk = tmp_path / "host" / case.place
    with small_disk(disk):
        attempt = Attempt.prepared(case, base, tmp_path / "host")
        found = attempt.run("--fill", str(disk))
        assert (disk / FILLER).stat().st_size > 1_000_000
        happened = check(attempt, found)
        (disk / FILLER).unlink()
        check_with_room(attempt, happened=happened)


@pytest.fixture(scope="module")
def base_in_postgresql(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Base:
    folder = tmp_path_factory.mktemp("postgresql")
    instance, archive = changed_registry(folder, postgresql.create(), users=40)
    after = Instance(folder / "after", postgresql.copy(str(instance.uri)))
    shutil.copytree(instance.path, after.path)
    after.backups("restore", str(archive), "--strategy", "overwrite", "--yes")
    return Base(instance, archive, registry(instance), registry(after))


#: The first needs room for what is staged, the other for new versions of rows.
IN_POSTGRESQL = [
    Case("restore", "restore_users", "db", ("database",), "the disk of the database is full"),
    Case("restore", "decide", "db", ("database", None)),
]


@pytest.mark.parametrize("case", IN_POSTGRESQL if can_mount() else [], ids=str)
def test_a_full_disk_of_postgresql(
    case: Case, base_in_postgresql: Base, postgresql: Server, tmp_path: Path
) -> None:
    base, disk = base_in_postgresql, postgresql.folder / "disk"
    with small_disk(disk), postgresql.tablespace(disk) as tablespace:
        shutil.copytree(base.instance.path, tmp_path / "host")
        uri = postgresql.copy(str(base.instance.uri), tablespace=tablespace)
        attempt = Attempt(case, base, Instance(tmp_path / "host", uri), str(base.archive))
        found = attempt.run("--fill", str(disk))
        assert (disk / FILLER).stat().st_size > 1_000_000
        # The server needs room for a new connection, now and then.
        (disk / FILLER).unlink()
        happened = check(attempt, found)
        check_with_room(attempt, happened=happened, same=unnumbered)


@pytest.mark.parametrize("case", LIMITED, ids=str)
def test_a_file_that_may_not_grow(case: Case, base: Base, tmp_path: Path) -> None:
    attempt = Attempt.prepared(case, base, tmp_path / "host")
    happened = check(attempt, attempt.run("--limit", str(LIMIT)))
    check_with_room(attempt, happened=happened)
