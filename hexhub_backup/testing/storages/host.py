"""What a host says of its storage, and the files that the tests are about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property, partial

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.storage.base import Purpose, Storage, sealed

NEW = ReleaseFile("package", "jason", "1.4.0")
DOCS = ReleaseFile("docs", "jason", "1.4.0")
OLD = ReleaseFile("package", "ecto", "3.13.0")
#: The ids of three operations.
RESTORE, UNDO, OTHER = (
    "20260131-103000-9f3ac1",
    "20260201-070000-04bb52",
    "20260202-000000-1c0de5",
)


class StorageHost:
    """Subclass it, and override `storage`, `reopen`, `store` and `delete`."""

    @pytest.fixture
    def storage(self) -> Storage:
        """A storage that holds nothing."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """Another object for the same storage, as another process would have it."""
        raise NotImplementedError

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        """Store a file as your app does when a release is published, also over one that is
        there. Where its time tells that it changed, let that be a later one."""
        raise NotImplementedError

    def delete(self, storage: Storage, file: ReleaseFile) -> None:
        """Remove a stored file as your app does."""
        raise NotImplementedError

    def stage(
        self,
        storage: Storage,
        file: ReleaseFile,
        content: bytes,
        operation: str = RESTORE,
        purpose: Purpose = "place",
    ) -> tuple[ReleaseFile, str]:
        """Stage a file in some chunks, and seal its tag, as a restore does."""
        self._content[operation, file] = content
        chunks = [content[:1], b"", content[1:]]
        tag = storage.stage(operation, file, chunks, purpose=purpose)
        return file, sealed(tag, hashlib.sha256(content).hexdigest())

    def place(
        self,
        storage: Storage,
        files: Iterable[tuple[ReleaseFile, str]],
        operation: str = RESTORE,
    ) -> None:
        """Place staged files, whose content is there again, as a restore has its archive."""
        storage.place(operation, files, lambda file: [self._content[operation, file]])

    @cached_property
    def _content(self) -> dict[tuple[str, ReleaseFile], bytes]:
        """What was staged, by operation and file."""
        return {}

    def content(self, storage: Storage, file: ReleaseFile) -> bytes | None:
        """What a stored file holds; None where there is none."""
        try:
            with storage.open(file) as stored:
                return b"".join(iter(partial(stored.read, 3), b""))
        except FileNotFoundError:
            return None

    def tag(self, storage: Storage, file: ReleaseFile) -> str:
        stored = storage.stat(file)
        assert stored is not None
        return stored.tag
