"""What a depot in a bucket does that a directory has no part in: versions, and its cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hexhub_backup.depot import s3_cache
from hexhub_backup.depot.s3 import BucketDepot
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
    with depot.work_file(upload) as file:
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
