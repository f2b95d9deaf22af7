"""Where the files of a test's host lie: in a folder, or in a bucket whose server keeps it as one.

So a test writes and looks at them by their paths, whichever storage it runs over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from hexhub_backup import LocalStorage, S3Storage
from hexhub_backup.storage.base import Storage
from tests.support.s3 import KEYS, S3Server, between, localbucket

#: The folder of all buckets of a server, by its address.
_folders: dict[str, Path] = {}


@dataclass(frozen=True)
class HostBucket:
    """The settings of a host that keeps its files in a bucket."""

    bucket: str
    endpoint: str

    @property
    def config(self) -> dict[str, str]:
        return {
            "HOST_APP_STORAGE": f"s3://{self.bucket}/files",
            "HOST_APP_BUCKET_ENDPOINT": self.endpoint,
        }

    @property
    def root(self) -> Path:
        return _folders[self.endpoint] / self.bucket / "files"


#: Makes a new bucket, or none where the files are in a folder of the host.
NewStored = Callable[[], HostBucket | None]


@contextmanager
def buckets(folder: Path) -> Iterator[Callable[[], HostBucket]]:
    """A server whose buckets are folders in this one, with what it lacks: metadata."""
    keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS.values(), strict=True))
    with (
        localbucket(folder) as server,
        between(server, metadata=True) as (front, _),
        patch.dict(os.environ, keys),
    ):
        _folders[front.endpoint] = folder

        def new() -> HostBucket:
            return HostBucket(S3Server(server.endpoint).bucket(), front.endpoint)

        yield new


def root_of(storage: Storage) -> Path:
    """The folder in which the files of a storage lie, by its layout."""
    if isinstance(storage, S3Storage):
        endpoint = storage.location.rpartition(" at ")[2]
        return _folders[endpoint] / storage.bucket / storage.prefix
    assert isinstance(storage, LocalStorage)
    return storage.root
