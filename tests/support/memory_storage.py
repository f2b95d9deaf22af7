"""A storage of a host's own, as small as one can be: it keeps its files in memory."""

from __future__ import annotations

import hashlib
import io
import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ChangedError
from hexhub_backup.storage.base import Purpose, Storage, StoredFile, bare, sealed, sha256_of
from hexhub_backup.testing import StorageConformance


@dataclass(frozen=True)
class Content:
    """A file, and a number that no other one has."""

    bytes: bytes
    number: int = field(default_factory=itertools.count().__next__)

    @property
    def tag(self) -> str:
        return str(self.number)

    @property
    def sealed(self) -> str:
        return sealed(self.tag, hashlib.sha256(self.bytes).hexdigest())


Files = dict[ReleaseFile, Content]


@dataclass
class Memory:
    """What outlives a `MemoryStorage`, as a bucket does."""

    files: Files = field(default_factory=dict)
    staged: dict[str, Files] = field(default_factory=dict)
    kept: dict[str, Files] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


class OpenContent:
    """See `OpenFile`: a content never changes, it is only replaced."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._content.read(size)

    def readinto(self, buffer: memoryview) -> int:
        return self._content.readinto(buffer)

    def changed(self) -> bool:
        return False

    def __enter__(self) -> OpenContent:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()


class MemoryStorage:
    """See `Storage`."""

    location = "memory"
    at_once = 1
    places_directly = False

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def open(self, file: ReleaseFile) -> OpenContent:
        content = self.memory.files.get(file)
        if content is None:
            raise FileNotFoundError(file.member)
        return OpenContent(content.bytes)

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        return (None if stored is None else stored.size for stored in self.stats(files))

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        content = self.memory.files.get(file)
        return None if content is None else StoredFile(len(content.bytes), content.tag)

    def stats(self, files: Iterable[ReleaseFile]) -> Iterator[StoredFile | None]:
        return map(self.stat, files)

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        return _known(self.memory.files.get(file), tag, by_content=by_content)

    def alike(self) -> None:
        return None

    def name_of(self, file: ReleaseFile) -> str:
        return file.member

    def names(self) -> Iterator[str]:
        return (file.member for file in list(self.memory.files))

    def free(self) -> int:
        return sys.maxsize

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        staged = self.memory.staged.setdefault(operation, {})
        content = staged[file] = Content(b"".join(chunks))
        return content.tag

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        content = self.memory.files.get(file)
        if content is None or content.tag != bare(tag):
            raise ChangedError(f"{file.member} is another by now: inspect the archive again.")
        self.memory.kept.setdefault(operation, {})[file] = content
        return content.sealed

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        content = self.memory.kept.get(undone, {}).get(file)
        if content is None or (tag is not None and _known(content, tag) is None):
            return False
        self.memory.staged.setdefault(operation, {})[file] = content
        return True

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        content = self.memory.staged.get(operation, {}).get(file)
        return None if content is None else len(content.bytes)

    def flush(self) -> None:
        """There is nothing to wait for."""

    def place(
        self,
        operation: str,
        files: Iterable[tuple[ReleaseFile, str]],
        content: Callable[[ReleaseFile], Iterable[bytes]],
    ) -> None:
        staged = self.memory.staged.get(operation, {})
        for file, _ in files:
            found = staged[file]
            if self.memory.files.setdefault(file, found) is not found:
                raise ChangedError(f"{file.member} was stored meanwhile: inspect it again.")

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        with self.memory.lock:
            for file, tag in files:
                if self.known(file, tag, by_content=False) is not None:
                    del self.memory.files[file]

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        with self.memory.lock:
            content = self.memory.staged.get(operation, {}).get(file)
            is_there = self.known(file, tag) is not None
            if content is None or not is_there:
                return content is None and not is_there
            self.memory.files[file] = self.memory.staged[operation].pop(file)
            return True

    def remove(self, files: Iterable[tuple[ReleaseFile, str]]) -> list[bool]:
        return [self._remove(file, tag) for file, tag in files]

    def _remove(self, file: ReleaseFile, tag: str) -> bool:
        with self.memory.lock:
            if file in self.memory.files and self.known(file, tag) is None:
                return False
            self.memory.files.pop(file, None)
            return True

    def clear(self, operation: str) -> None:
        self.memory.staged.pop(operation, None)

    def forget(self, operation: str, *, undone: bool = False) -> None:
        self.memory.kept.pop(operation, None)

    def kept(self) -> Iterator[str]:
        yield from list(self.memory.kept)

    def staged(self) -> Iterator[str]:
        yield from list(self.memory.staged)


def _known(content: Content | None, tag: str, *, by_content: bool = True) -> str | None:
    if content is None:
        return None
    if content.tag == bare(tag):
        return tag
    sha256 = sha256_of(tag)
    if not by_content or sha256 is None or sha256_of(content.sealed) != sha256:
        return None
    return content.sealed


class MemoryConformance(StorageConformance):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage(Memory())

    def reopen(self, storage: Storage) -> MemoryStorage:
        return MemoryStorage(memory(storage))

    def store(self, storage: Storage, file: ReleaseFile, content: bytes) -> None:
        memory(storage).files[file] = Content(content)

    def delete(self, storage: Storage, file: ReleaseFile) -> None:
        del memory(storage).files[file]


def memory(storage: Storage) -> Memory:
    assert isinstance(storage, MemoryStorage)
    return storage.memory
