"""Where the files of a test's host lie: in a folder, or in a bucket whose server keeps it as one.

So a test writes and looks at them by their paths, whichever storage it runs over.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch
from urllib.request import urlopen

from hexhub_backup import LocalStorage, S3Storage
from hexhub_backup.storage.base import Storage
from tests.support.s3 import COPIED, KEYS, Between, S3Server, between, localbucket

#: The folder of all buckets of a server, by its address.
_folders: dict[str, Path] = {}


@dataclass(frozen=True)
class HostBucket:
    """The settings of a host that keeps its files in a bucket, and with `depot` its backups."""

    bucket: str
    endpoint: str
    #: Where the server keeps its buckets, if it does so in a folder.
    folder: str = ""
    depot: bool = False

    @property
    def config(self) -> dict[str, str]:
        return {
            "HOST_APP_STORAGE": f"s3://{self.bucket}/files",
            "HOST_APP_BUCKET_ENDPOINT": self.endpoint,
            **({"HOST_APP_DEPOT": f"s3://{self.bucket}/backups"} if self.depot else {}),
        }

    @property
    def root(self) -> Path:
        return Path(self.folder, self.bucket, "files")

    @property
    def backups(self) -> Path:
        return Path(self.folder, self.bucket, "backups")

    def copy(self, name: str) -> HostBucket:
        """Another bucket with the same objects, written at the same times."""
        shutil.copytree(Path(self.folder, self.bucket), Path(self.folder, name))
        with urlopen(f"{self.endpoint}{COPIED}?from={self.bucket}&to={name}"):
            return replace(self, bucket=name)

    def remove(self) -> None:
        shutil.rmtree(Path(self.folder, self.bucket), ignore_errors=True)


#: Makes a new bucket, or none where the files are in a folder of the host.
NewStored = Callable[[], HostBucket | None]


@contextmanager
def buckets(folder: Path) -> Iterator[tuple[Callable[[], HostBucket], Between]]:
    """A server whose buckets are folders in this one, with what it lacks: metadata. Gives what
    makes a bucket, and what the requests go through."""
    keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS.values(), strict=True))
    with (
        localbucket(folder) as server,
        between(server, metadata=True) as (front, line),
        patch.dict(os.environ, keys),
    ):
        _folders[front.endpoint] = folder

        def new() -> HostBucket:
            return HostBucket(S3Server(server.endpoint).bucket(), front.endpoint, str(folder))

        yield new, line


def root_of(storage: Storage) -> Path:
    """The folder in which the files of a storage lie, by its layout."""
    if isinstance(storage, S3Storage):
        endpoint = storage.location.rpartition(" at ")[2]
        return _folders[endpoint] / storage.bucket / storage.prefix
    assert isinstance(storage, LocalStorage)
    return storage.root
