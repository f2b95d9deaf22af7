"""What is tortured: commands on instances that are prepared for them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hexhub_backup.storage.local_files import _PART
from tests.support import mariadb
from tests.support.instance import FLASK, ROOT, Instance
from tests.support.killer import Killer
from tests.support.postgres import Server, name_of
from tests.support.s3 import Between
from tests.support.stored import HostBucket
from tests.torture.state import fingerprint
from tests.torture.victim import Task, copy


def changed_registry(
    folder: Path,
    uri: str | None = None,
    bucket: HostBucket | None = None,
    *,
    conflicts: bool = True,
    **numbers: int,
) -> tuple[Instance, Path]:
    """An instance, and an archive of it from before some of it was changed and removed. Without
    `conflicts` there is only what is missing."""
    instance = Instance(folder / "base", uri, bucket)
    instance.seed(**{"users": 4, "packages": 5, "releases": 2, "file_size": 3000, **numbers})
    kept = folder / "before.tar"
    shutil.copyfile(_archive(instance, instance.backups("create")["id"]), kept)
    with instance.database() as connection:
        gone, other, lost, *_ = connection.exec_driver_sql(
            "SELECT releases.id, packages.name, version FROM releases "
            "JOIN packages ON packages.id = package_id WHERE source = 'local' ORDER BY 1"
        ).all()
        connection.exec_driver_sql(f"DELETE FROM releases WHERE id = {gone[0]}")
        for sql in (
            f"UPDATE packages SET private = NOT private WHERE name = '{other[1]}'",
            "DELETE FROM api_keys",
            "UPDATE users SET email = 'other@example.org' WHERE id = 2",
        ):
            if conflicts:
                connection.exec_driver_sql(sql)
    for file in instance.storage.rglob(f"{gone[1]}-{gone[2]}.tar.gz"):
        file.unlink()
    for file in instance.storage.rglob(f"{other[1]}-{other[2]}.tar.gz"):
        if conflicts:
            file.write_bytes(b"another file")
    for file in instance.storage.rglob(f"{lost[1]}-{lost[2]}.tar.gz"):
        file.unlink()
    return instance, kept


@dataclass(frozen=True)
class Prepared:
    """A scenario that is ready: its task without a point."""

    name: str
    task: Task


class Bench:
    """Where scenarios are prepared: a folder, the server where the registry is on one, and where
    its files and backups are in a bucket, what makes buckets and what their requests go through."""

    def __init__(
        self,
        folder: Path,
        server: Server | mariadb.Server | None = None,
        buckets: tuple[Callable[[], HostBucket], Between] | None = None,
    ) -> None:
        self.folder = folder
        self.server = server
        self.buckets = buckets
        self._changed: dict[bool, tuple[Instance, Path]] = {}
        self._restored: dict[str, tuple[Instance, str]] = {}
        self._lost: tuple[Instance, Path] | None = None
        self._numbers = itertools.count()

    def new(self) -> str | None:
        return None if self.server is None else self.server.create()

    def new_bucket(self) -> HostBucket | None:
        return None if self.buckets is None else replace(self.buckets[0](), depot=True)

    def changed(self, name: str, *, conflicts: bool = True) -> tuple[Instance, Path]:
        """A copy of a changed registry, and the archive of it from before."""
        if conflicts not in self._changed:
            place = self.folder / f"changed-{conflicts}"
            place.mkdir()
            self._changed[conflicts] = changed_registry(
                place, self.new(), self.new_bucket(), conflicts=conflicts
            )
        instance, archive = self._changed[conflicts]
        return self.copied(instance, name), archive

    def restored(self, strategy: str) -> tuple[Instance, str]:
        """What a restore makes of a changed registry, and that restore."""
        if strategy not in self._restored:
            instance, archive = self.changed(f"restored-{strategy}", conflicts=strategy != "fail")
            done = instance.backups("restore", str(archive), "--strategy", strategy, "--yes")
            self._restored[strategy] = instance, done["id"]
        return self._restored[strategy]

    def lost(self, name: str) -> tuple[Instance, Path]:
        """A copy of a registry whose files are gone, so many that threads remove them once they
        are back, and the archive of it from before."""
        if self._lost is None:
            instance = Instance(self.folder / "many files", self.new(), self.new_bucket())
            instance.seed(users=2, packages=60, releases=2, file_size=100)
            archive = self.folder / "lost.tar"
            shutil.copyfile(_archive(instance, instance.backups("create")["id"]), archive)
            files = list(instance.storage.rglob("*.tar.gz"))
            assert len(files) > _PART
            for file in files:
                file.unlink()
            self._lost = instance, archive
        instance, archive = self._lost
        return self.copied(instance, name), archive

    def copied(self, instance: Instance, name: str) -> Instance:
        """The same once more, with the same inodes in its storage."""
        path = self.folder / name
        copy(instance.path, path)
        uri = None if self.server is None else self.server.copy(str(instance.uri))
        bucket = instance.bucket and instance.bucket.copy(f"bench-{next(self._numbers)}")
        return Instance(path, uri, bucket)

    def task(
        self, instance: Instance, arguments: list[str], verb: str, before: str, after: str
    ) -> Task:
        return Task(
            base=str(instance.path),
            arguments=arguments,
            verb=verb,
            before=before,
            after=after,
            server=None if self.server is None else str(self.server.folder),
            database=None if instance.uri is None else name_of(instance.uri),
            bucket=instance.bucket,
        )


def _create(bench: Bench) -> Task:
    instance, _ = bench.changed("create")
    after = bench.copied(instance, "created")
    after.backups("create")
    return bench.task(instance, ["create", "--json"], "create", *_both(instance, after))


def _restore(strategy: str) -> Callable[[Bench], Task]:
    def prepare(bench: Bench) -> Task:
        # Under `fail` a restore happens only where nothing differs.
        instance, archive = bench.changed(strategy, conflicts=strategy != "fail")
        after, _ = bench.restored(strategy)
        arguments = ["restore", str(archive), "--strategy", strategy, "--yes", "--json"]
        return bench.task(instance, arguments, "restore", *_both(instance, after))

    return prepare


def _restore_backed_up(bench: Bench) -> Task:
    instance, archive = bench.changed("backed up")
    arguments = ["restore", str(archive), "--strategy", "overwrite", "--yes", "--backup-first"]
    between, after = bench.copied(instance, "between"), bench.copied(instance, "both")
    between.backups("create")
    after.backups(*arguments)
    task = bench.task(instance, [*arguments, "--json"], "restore", *_both(instance, after))
    return replace(task, between=fingerprint(between))


def _prune(bench: Bench) -> Task:
    instance, archive = bench.changed("prune")
    instance.backups("create")
    old = f"{datetime.now(timezone.utc) - timedelta(days=40):%Y-%m-%d %H:%M:%S}"
    with instance.database() as connection:
        # The first of the two backups, and all operations, are past the retention.
        (first,) = connection.exec_driver_sql(
            "SELECT id FROM hexhub_backup_backups ORDER BY created_at LIMIT 1"
        ).one()
        connection.exec_driver_sql(
            f"UPDATE hexhub_backup_backups SET created_at = '{old}' WHERE id = '{first}'"
        )
        connection.exec_driver_sql(f"UPDATE hexhub_backup_operations SET finished_at = '{old}'")
    upload = instance.depot / "uploads" / "20250101-000000-abcdef.tar"
    upload.parent.mkdir(exist_ok=True)
    shutil.copyfile(archive, upload)
    os.utime(upload, (0, 0))
    after = bench.copied(instance, "pruned")
    assert after.backups("prune")["backups"] == [first]
    return bench.task(instance, ["prune", "--json"], "prune", *_both(instance, after))


def _recovery(
    name: str, calls: str, number: int, *, decided: bool = False, many: bool = False
) -> Callable[[Bench], Task]:
    """A restore, of `many` files or not, that is killed at a use of these calls is what the
    recovery finds: when it places a file, or, `decided`, replaces the first one. In a bucket it is
    killed at that request."""

    def prepare(bench: Bench) -> Task:
        instance, archive = bench.lost(name) if many else bench.changed(name)
        end = fingerprint(bench.restored("overwrite")[0] if decided else instance)
        command = ["restore", str(archive), "--strategy", "overwrite", "--yes"]
        if bench.buckets is not None:
            _, line = bench.buckets
            killer = Killer(
                instance, line, _placing(number, _replaced(instance, decided)), done=False
            )
            assert killer.run(*command) == -signal.SIGKILL
        else:
            strace = ["strace", "-f", "-qq", "-o", os.devnull, f"--trace={calls}"]
            killed = subprocess.run(
                [
                    *strace,
                    f"--inject={calls}:signal=SIGKILL:when={number}",
                    *FLASK,
                    "backups",
                    *command,
                ],
                cwd=ROOT,
                env=instance.environment,
                capture_output=True,
            )
            assert killed.returncode in (-9, 137), killed.stderr
        assert instance.leftovers()
        return bench.task(instance, ["operations", "--json"], "recovery", end, end)

    return prepare


def _replaced(instance: Instance, decided: bool) -> str:
    """What is in the addresses of the files to wait for: of all, or of the one that is replaced."""
    if not decided:
        return "/files/hosted/"
    (file,) = (
        file for file in instance.storage.rglob("*.tar.gz") if file.read_bytes() == b"another file"
    )
    return f"/files/{file.relative_to(instance.storage)}"


def _placing(number: int, place: str) -> Callable[[int, str], bool]:
    """Whether a request is the one of this number that writes there."""
    count = itertools.count(1)

    def at(_: int, request: str) -> bool:
        return request.startswith("PUT ") and place in request and next(count) == number

    return at


def _archive(instance: Instance, backup: str) -> Path:
    return instance.depot / f"hexhub-backup-{backup}.tar"


def _undo(bench: Bench) -> Task:
    instance, operation = bench.restored("overwrite")
    before, after = _both(instance, bench.changed("undo")[0])
    return bench.task(instance, ["undo", operation, "--yes", "--json"], "undo", before, after)


def _with_nas(bench: Bench, name: str) -> tuple[Instance, str]:
    """An instance with a destination, and a backup that has no copy there yet."""
    instance, _ = bench.changed(name)
    (backup,) = (each["id"] for each in instance.backups("list"))
    instance.nas.mkdir()
    instance.backups("destinations", "init", "nas")
    return instance, backup


def _copy(bench: Bench) -> Task:
    instance, backup = _with_nas(bench, "copy")
    after = bench.copied(instance, "copied")
    after.backups("copy", backup)
    return bench.task(instance, ["copy", backup, "--json"], "copy", *_both(instance, after))


def _bring_back(bench: Bench) -> Task:
    instance, backup = _with_nas(bench, "elsewhere")
    instance.backups("copy", backup)
    after = bench.copied(instance, "brought back")
    _archive(instance, backup).unlink()
    arguments = ["bring-back", backup, "--json"]
    return bench.task(instance, arguments, "bring_back", *_both(instance, after))


def _scan(bench: Bench) -> Task:
    instance, backup = _with_nas(bench, "lost")
    instance.backups("copy", backup)
    _archive(instance, backup).unlink()
    with instance.database() as connection:
        for table in ("backups", "copies", "operations"):
            connection.exec_driver_sql(f"DELETE FROM hexhub_backup_{table}")
    after = bench.copied(instance, "found")
    arguments = ["destinations", "scan", "--json"]
    assert after.backups(*arguments[:-1])["adopted"] == [backup]
    return bench.task(instance, arguments, "scan", *_both(instance, after))


def _rehearse(bench: Bench) -> Task:
    """It changes nothing, whatever becomes of it."""
    instance, archive = bench.changed("rehearse")
    end = fingerprint(instance)
    return bench.task(instance, ["rehearse", str(archive), "--json"], "rehearse", end, end)


def _undo_many(bench: Bench) -> Task:
    instance, archive = bench.lost("many")
    end = fingerprint(instance)
    done = instance.backups("restore", str(archive), "--strategy", "skip", "--yes")
    arguments = ["undo", done["id"], "--yes", "--json"]
    return bench.task(instance, arguments, "undo", fingerprint(instance), end)


def _both(before: Instance, after: Instance) -> tuple[str, str]:
    return fingerprint(before), fingerprint(after)


SCENARIOS: dict[str, Callable[[Bench], Task]] = {
    "create": _create,
    "restore skip": _restore("skip"),
    "restore overwrite": _restore("overwrite"),
    "restore fail": _restore("fail"),
    "restore, backed up": _restore_backed_up,
    "prune": _prune,
    "recovery, decided": _recovery("decided", "rename,renameat,renameat2", 1, decided=True),
    "recovery, undecided": _recovery("undecided", "link,linkat", 3),
    "recovery, many files": _recovery("many undecided", "link,linkat", _PART + 10, many=True),
    "undo": _undo,
    "undo, many files": _undo_many,
    "copy": _copy,
    "bring back": _bring_back,
    "scan": _scan,
    "rehearse": _rehearse,
}


def prepare(name: str, bench: Bench) -> Prepared:
    return Prepared(name, SCENARIOS[name](bench))


def at(task: Task, **point: object) -> Task:
    """A task with a point and a mode."""
    return replace(task, **point)  # type: ignore[arg-type]
