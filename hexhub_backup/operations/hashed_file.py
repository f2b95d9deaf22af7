"""A file whose bytes are hashed as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hexhub_backup.storage.base import OpenFile

_CHUNK = 1 << 20


class HashedFile:
    """Reads a stored file from its beginning on. `passed` is told how many bytes were read, `size`
    is how many these are by now."""

    def __init__(self, source: OpenFile, passed: Callable[[int], None]) -> None:
        self._source = source
        self._passed = passed
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        data = self._source.read(size)
        self._digest.update(data)
        self.size += len(data)
        self._passed(len(data))
        return data

    def rest(self) -> str:
        """Read what is left. Returns the SHA-256 of the whole file, in hex."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()
