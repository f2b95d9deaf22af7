"""What a depot in a bucket does that a directory has no part in: versions, and its cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.depot import s3_cache
from hexhub_backup.depot.s3 import BucketDepot
from hexhub_backup.depot.s3_objects import DepotError, Objects
from tests.support.depots import ID, bucket_depot, content, made
from tests.support.s3 import S3Server

pytestmark = pytest.mark.matrix


def open_depot(moto: S3Server, folder: Path, machine: str, bucket: str) -> BucketDepot:
    return bucket_depot(moto, bucket, folder / machine, folder / "shared")


def test_what_is_removed_is_gone_with_all_of_its_versions(moto: S3Server, tmp_path: Path) -> None:
    """An archive holds password hashes, and so does each version of it."""
    bucket = moto.bucket(versions=True)
    depot = open_depot(moto, tmp_path, "one", bucket)
    archive = made(depot, content(70_000))
    plan = depot.kept("undo_set", "an-operation")
    for data in (b"first", b"second"):
        plan.here().write_bytes(data)
        plan.keep()
    upload = depot.new_work_file("an-upload")
    with depot.work_file(upload, 4) as file:
        file.write(b"more")
        file.complete()
    client = moto.client()

    def left() -> set[str]:
        found = client.list_object_versions(Bucket=bucket)
        entries = (*found.get("Versions", ()), *found.get("DeleteMarkers", ()))
        return {each["Key"].removeprefix("depot/") for each in entries} - {"probe"}

    names = {f"hexhub-backup-{ID}.tar", "undo/an-operation.sqlite", "uploads/an-upload.tar"}
    assert left() == names
    depot.remove(archive)
    plan.remove()
    depot.remove_upload(upload)
    assert left() == set()


def test_what_was_brought_here_is_not_kept_forever(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket()
    maker, reader = (open_depot(moto, tmp_path, name, bucket) for name in ("maker", "reader"))
    operations = [f"operation-{number}" for number in range(4)]
    for operation in operations:
        kept = maker.kept("undo_set", operation)
        kept.here().write_bytes(content(1000))
        kept.keep()

    def here(depot: BucketDepot) -> list[str]:
        return sorted(path.stem for path in (depot.path / "undo").glob("*.sqlite"))

    monkeypatch.setattr(s3_cache, "_MOST", 2500)
    for age, operation in zip((400, 300, 200, 100), operations, strict=True):
        path = reader.kept("undo_set", operation).here()
        assert path.read_bytes() == content(1000)
        os.utime(path, (time.time() - age,) * 2)
    # It is looked at before each is as old as it is made to be.
    reader.remove_partials()
    assert here(reader) == operations[2:]
    # What was made here is no copy that could be brought again at any time.
    maker.remove_partials()
    assert here(maker) == operations

    monkeypatch.setattr(s3_cache, "_STAYS", 150)
    reader.remove_partials()
    assert here(reader) == operations[3:]
    monkeypatch.setattr(s3_cache, "_MADE_STAYS", -1)
    maker.remove_partials()
    assert here(maker) == []
    # All of it is there still.
    assert reader.kept("undo_set", operations[0]).here().read_bytes() == content(1000)


def test_an_archive_that_is_brought_back_is_none_of_the_dead(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the lock removes what the dead have left, and to bring one back takes no lock."""
    bucket = moto.bucket()
    one, other = (open_depot(moto, tmp_path, name, bucket) for name in ("one", "other"))
    died = one._objects.begin("hexhub-backup-DIED.tar")

    def brought(meanwhile: Callable[[str], object]) -> str:
        upload = one.new_work_file("an-operation")
        with one.work_file(upload, 5) as file:
            file.write(b"bytes")
            file.complete()
        copy_part = Objects._copy_part

        def copied(objects: Objects, key: str, upload: str, *rest: Any) -> Any:
            meanwhile(upload)
            return copy_part(objects, key, upload, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Objects, "_copy_part", copied)
            one.publish(upload, ID)
        return upload

    upload = brought(lambda _: other.remove_partials())
    assert one.stat(one.archive_name(ID)).size == 5
    assert not one.is_there(upload)
    assert died not in [each for _, each, _ in one._objects.uploads("hexhub-backup-")]
    one.remove(one.archive_name(ID))
    # Where something else has dropped it.
    with pytest.raises(DepotError):
        brought(lambda upload: one._objects.abort(f"hexhub-backup-{ID}.tar", upload))
    assert not one.is_there(one.archive_name(ID))


def test_all_that_is_asked_for_at_once_is_here(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket()
    maker, reader = (open_depot(moto, tmp_path, name, bucket) for name in ("maker", "reader"))
    plan = maker.kept("plan", "an-operation")
    for name in ("index.sqlite", "plan.sqlite"):
        (maker.path / "plans" / "an-operation").mkdir(parents=True, exist_ok=True)
        (plan.path / name).write_bytes(content(1000))
    plan.keep()
    monkeypatch.setattr(s3_cache, "_MOST", 1500)
    here = reader.kept("plan", "an-operation").here()
    assert sorted(path.name for path in here.glob("*.sqlite")) == ["index.sqlite", "plan.sqlite"]


def test_who_dies_while_a_file_is_brought_here_leaves_it_to_be_brought_again(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket()
    maker, reader = (open_depot(moto, tmp_path, name, bucket) for name in ("maker", "reader"))
    kept, read = maker.kept("undo_set", "an-operation"), reader.kept("undo_set", "an-operation")

    def keep(size: int) -> None:
        kept.here().write_bytes(content(size))
        kept.keep()

    write = s3_cache._write

    def dies(path: Path, text: str) -> None:
        if text:
            raise KeyboardInterrupt
        write(path, text)

    for size in (1000, 2000):
        keep(size)
        with monkeypatch.context() as patch:
            patch.setattr(s3_cache, "_write", dies)
            with pytest.raises(KeyboardInterrupt):
                read.here()
        assert read.here().read_bytes() == content(size)
    keep(3000)
    assert read.here().read_bytes() == content(3000)


def test_what_comes_in_may_be_as_large_as_an_object_can_be(moto: S3Server, tmp_path: Path) -> None:
    depot = open_depot(moto, tmp_path, "one", moto.bucket())
    upload, size = depot.new_work_file("an-operation"), 1024**4
    with depot.work_file(upload, size) as file:
        assert file._parts._size * 10_000 >= size
