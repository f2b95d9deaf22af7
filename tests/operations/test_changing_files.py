"""A host that goes on publishing while a backup or a restore runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup import verbs
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ArchiveError, ChangedError, StorageError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.storage.local import LocalStorage
from hexhub_backup.storage.local_files import LocalFile
from tests.support.directory import depot_of
from tests.support.hosts import ADA
from tests.support.stored import root_of


class Meddled(LocalStorage):
    """A storage in which `meddle` runs whenever a part of a file is read."""

    def __init__(self, root: Path, meddle: Callable[[Path], None]) -> None:
        super().__init__(root)
        self._meddle = meddle

    def open(self, file: ReleaseFile) -> LocalFile:
        meddle, path = self._meddle, self.path(file)

        class Watched(LocalFile):
            def readinto(self, buffer: memoryview) -> int:
                meddle(path)
                return super().readinto(buffer)

        return Watched(str(path))


def test_a_file_that_is_written_to_while_it_is_read_is_read_again(host: Any) -> None:
    backups = backups_of(host)
    written: list[Path] = []

    def once(path: Path) -> None:
        if not written:
            written.append(path)
            path.write_bytes(path.read_bytes()[:-1] + b"x")

    backups.storage = Meddled(root_of(backups.storage), once)
    done = backups.orders.run(host, verbs.create.order(ADA))
    assert (
        backups.orders.run(host, verbs.verify.order(backups.history, ADA, done.operation)).outcome[
            "warnings"
        ]
        == []
    )
    archive = depot_of(backups).archive(done.operation).read_bytes()
    assert written[0].read_bytes() in archive


def test_a_file_that_never_stops_changing_fails_the_backup(host: Any) -> None:
    backups = backups_of(host)

    def always(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"more")

    backups.storage = Meddled(root_of(backups.storage), always)
    with pytest.raises(StorageError, match="was written to while it was read"):
        backups.orders.run(host, verbs.create.order(ADA))
    assert list(backups.depot.archives()) == []
    assert list(backups.depot.path.glob("*.part")) == []


def test_an_archive_that_changes_after_its_inspection_is_not_restored(
    host: Any, tmp_path: Path
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    archive = tmp_path / "copy.tar"
    shutil.copy2(depot_of(backups).archive(made), archive)
    stored = next(path for path in (root_of(backups.storage) / "hosted/packages").rglob("*.gz"))
    stored.unlink()
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, str(archive), Choice())
    ).operation
    times = archive.stat()
    data = bytearray(archive.read_bytes())
    at = data.index(f"packages/{stored.name}".encode(), data.index(b"owners.json")) + 512
    data[at + 3000] ^= 1
    archive.write_bytes(data)
    os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArchiveError, match="is not what it was"):
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan))
    assert not stored.exists()
    assert list(backups.storage.staged()) == []


def test_a_file_that_the_host_publishes_meanwhile_is_never_replaced(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    stored = next(path for path in (root_of(backups.storage) / "hosted/packages").rglob("*.gz"))
    stored.unlink()
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, made, Choice(strategy="overwrite"))
    )
    stored.write_bytes(b"of the host")
    with pytest.raises(Exception, match="has changed since"):
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert stored.read_bytes() == b"of the host"


def test_a_restore_is_cancelled_up_to_its_decision(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    stored = next(path for path in (root_of(backups.storage) / "hosted/packages").rglob("*.gz"))
    stored.unlink()
    plan = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, made, Choice()))
    place = LocalStorage.place

    def place_and_cancel(self: LocalStorage, operation: str, *files: Any) -> None:
        place(self, operation, *files)
        assert stored.exists()
        backups.orders.cancel(host, operation)

    monkeypatch.setattr(LocalStorage, "place", place_and_cancel)
    monkeypatch.setattr("hexhub_backup.jobs.running._STOP_INTERVAL", 0)
    with pytest.raises(Exception, match="cancelled"):
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert not stored.exists()
    assert list(backups.storage.staged()) == []
    assert backups.history.operations()[0].state == "cancelled"


def both_files(backups: Any) -> tuple[Path, Path]:
    """The package file and the docs file of one release."""
    for docs in sorted((backups.storage.root / "hosted/docs").rglob("*.gz")):
        package = Path(str(docs).replace("/docs/", "/packages/"))
        if package.exists():
            return package, docs
    raise AssertionError("no release has both")


def test_both_files_of_one_release_are_replaced(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    files = both_files(backups)
    before = [path.read_bytes() for path in files]
    for path in files:
        path.write_bytes(b"another")
        path.chmod(0o640)
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, made, Choice(strategy="overwrite"))
    )
    done = backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert done.outcome["warnings"] == []
    assert [path.read_bytes() for path in files] == before
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}
    assert not depot_of(backups).plan(plan.operation).exists()


def test_a_plan_is_only_for_the_admin_whose_account_it_spares(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    plan = backups.orders.run(
        host,
        verbs.inspect.order(
            backups.history, ADA, made, Choice(strategy="overwrite", protected=True)
        ),
    )
    with pytest.raises(ChangedError, match="made for ada"):
        verbs.restore.order(backups.plans, Who(actor="eve"), plan.operation)


def test_a_folder_of_the_host_that_is_empty_stays(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    for path in (root_of(backups.storage) / "hosted").rglob("*.gz"):
        path.unlink()
    folders = sorted(path for path in root_of(backups.storage).rglob("*") if path.is_dir())
    (root_of(backups.storage) / "hosted/docs").chmod(0o2775)
    plan = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, made, Choice()))
    stored = LocalStorage(backups.storage.location).path(ReleaseFile("package", "zzz", "1.0.0"))

    class Refusing(LocalStorage):
        def place(self, *arguments: Any) -> None:
            super().place(*arguments)
            raise ChangedError("no")

    backups.storage = Refusing(backups.storage.location)
    with pytest.raises(ChangedError):
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert not stored.exists()
    assert sorted(p for p in backups.storage.root.rglob("*") if p.is_dir()) == folders


def test_a_failed_inspection_leaves_no_plan(host: Any, tmp_path: Path) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    data = bytearray(depot_of(backups).archive(made).read_bytes())
    data[-6000] ^= 1
    (tmp_path / "broken.tar").write_bytes(data)
    with pytest.raises(ArchiveError):
        backups.orders.run(
            host, verbs.inspect.order(backups.history, ADA, str(tmp_path / "broken.tar"), Choice())
        )
    assert list((backups.depot.path / "plans").iterdir()) == []
