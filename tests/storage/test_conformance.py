"""Our storages, held to what the product asks of one."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.storage.base import Storage
from hexhub_backup.storage.layout import hexhub_layout
from hexhub_backup.storage.local import LocalStorage
from hexhub_backup.storage.s3 import S3Storage
from hexhub_backup.testing import StorageConformance
from hexhub_backup.testing.storages.crashes import CrashConformance
from hexhub_backup.testing.storages.files import FilesConformance
from hexhub_backup.testing.storages.host import StorageHost
from hexhub_backup.testing.storages.reading import ReadingConformance
from tests.support.s3 import KEYS, S3Server, between

_number = itertools.count(1)


def local(storage: Storage) -> LocalStorage:
    assert isinstance(storage, LocalStorage)
    return storage


class LocalConformance(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path / "storage")

    def reopen(self, storage: Storage) -> LocalStorage:
        return LocalStorage(storage.location)

    def delete(self, storage: Storage, file: ReleaseFile) -> None:
        local(storage).path(file).unlink()


class TestLocalStorage(LocalConformance):
    """Of a host that writes a file beside its place, and renames it."""

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        path = local(storage).path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name("beside")
        beside.write_bytes(content)
        set_later(beside)
        beside.replace(path)


class TestLocalStorageWrittenOver(LocalConformance):
    """Of a host that writes over a file in its place."""

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        path = local(storage).path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        set_later(path)


def set_later(path: Path) -> None:
    """As of a host that writes later than the clock's next tick."""
    now = time.time_ns() + next(_number) * 10_000_000
    os.utime(path, ns=(now, now))


class Bucket(StorageHost):
    """Of a host that says something of each object, as its time in its own clock."""

    @pytest.fixture
    def storage(self, moto: S3Server) -> S3Storage:
        return moto.storage(moto.bucket())

    def reopen(self, storage: Storage) -> S3Storage:
        storage = bucket_of(storage)
        endpoint = storage.location.rpartition(" at ")[2]
        return S3Storage(storage.bucket, storage.prefix, endpoint=endpoint, **KEYS)

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        s3, place = placed(storage, file)
        s3.put_object(**place, Body=content, Metadata={"stored": str(next(_number))})

    def delete(self, storage: Storage, file: ReleaseFile) -> None:
        s3, place = placed(storage, file)
        s3.delete_object(**place)


class TestS3Storage(Bucket, ReadingConformance, FilesConformance):
    """Each call."""


@pytest.mark.matrix
class TestS3StorageThatDies(Bucket, CrashConformance):
    """Between two calls."""


@pytest.mark.matrix
class TestS3StorageWithVersions(Bucket, StorageConformance):
    """Of a host that says nothing of its objects."""

    @pytest.fixture
    def storage(self, moto: S3Server) -> S3Storage:
        return moto.storage(moto.bucket(versions=True))

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        s3, place = placed(storage, file)
        s3.put_object(**place, Body=content)


@pytest.mark.matrix
class TestS3StorageOfAnother(Bucket, StorageConformance):
    """Of a server that holds copies to conditions."""

    @pytest.fixture
    def storage(self, localbucket: S3Server) -> Iterator[S3Storage]:
        with between(localbucket, metadata=True) as (server, _):
            yield server.storage(server.bucket())


def bucket_of(storage: Storage) -> S3Storage:
    assert isinstance(storage, S3Storage)
    return storage


def placed(storage: Storage, file: ReleaseFile) -> tuple[Any, dict[str, str]]:
    """A client of the server's, and where a file is."""
    storage = bucket_of(storage)
    client = S3Server(storage.location.rpartition(" at ")[2]).client()
    return client, {"Bucket": storage.bucket, "Key": f"{storage.prefix}{hexhub_layout(file)}"}
