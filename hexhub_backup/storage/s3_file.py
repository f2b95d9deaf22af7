"""A file in a bucket that is being read, a block at a time: no connection is held in between."""

from __future__ import annotations

from hexhub_backup.s3.server import TakenError
from hexhub_backup.storage.s3_objects import Objects

#: Bytes of the first block, which most files fit into: they take one request, and files that are
#: read ahead no more memory than this. And of each that follows.
FIRST = 1024 * 1024
_BLOCK = 8 * 1024 * 1024


class S3File:
    """See `OpenFile`. Raises FileNotFoundError where there is none."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects, self._key = objects, key
        found, self._block = objects.read(key, 0, FIRST)
        self.size = found.size
        self.etag = found.etag
        self._start = self._at = 0
        self._changed = False

    def read(self, size: int) -> bytes:
        if self._at == self._start + len(self._block):
            self._next()
        begin = self._at - self._start
        data = self._block[begin : begin + size]
        self._at += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def changed(self) -> bool:
        return self._changed

    def _next(self) -> None:
        """Ask for the next block, of the same object; there is none where it is another by now."""
        if self._at >= self.size or self._changed:
            return
        try:
            _, self._block = self._objects.read(self._key, self._at, _BLOCK, self.etag)
        except (FileNotFoundError, TakenError):
            self._changed, self._block = True, b""
        self._start = self._at

    def __enter__(self) -> S3File:
        return self

    def __exit__(self, *_: object) -> None:
        self._block = b""
