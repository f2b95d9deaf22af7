"""A resumable upload in a bucket."""

from __future__ import annotations

import json
from typing import Any

from hexhub_backup.archive.source import Source
from hexhub_backup.depot.base import UploadInfo
from hexhub_backup.depot.s3_objects import Objects
from hexhub_backup.depot.s3_parts import part_size


def state_key(upload: str) -> str:
    """The key of the object that has the state of an upload."""
    return f"uploads/{upload}.part"


def begin(objects: Objects, upload: str, info: UploadInfo) -> None:
    """Raises DepotError."""
    objects.put(state_key(upload), _state(info, part_size(info.length), None, [], b""))


def _state(
    info: UploadInfo,
    size: int,
    multipart: str | None,
    parts: list[dict[str, Any]],
    tail: bytes | bytearray,
) -> bytes:
    """A line of JSON, and the bytes after the last whole part."""
    return json.dumps([info, size, multipart, parts]).encode() + b"\n" + tail


class S3ResumableUpload:
    """See `ResumableUpload`. Whole parts go into one multipart upload. Which these are, and the
    bytes after them, are in one object, so that either both are kept or none: S3 takes no small
    part, and a request may end anywhere."""

    def __init__(self, objects: Objects, upload: str, name: str, state: Source) -> None:
        """Raises DepotError, NotFoundError."""
        self.name = name
        self.written = state.modified
        self._objects = objects
        self._upload = upload
        self._key = f"uploads/{upload}.tar"
        line, _, tail = state.read(0, state.size).partition(b"\n")
        info, size, self._multipart, self._parts = json.loads(line)
        self.info = UploadInfo(*info)
        self._size = int(size)
        self._tail = bytearray(tail)
        self._is_kept = True
        # Whoever has made an archive of it may have died before it could say so.
        self._is_complete = objects.head(self._key) is not None

    @property
    def offset(self) -> int:
        if self._is_complete:
            return self.info.length
        return self._size * len(self._parts) + len(self._tail)

    def head(self, length: int) -> bytes:
        return bytes(self._tail[:length])

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            if len(self._tail) == self._size:
                self.keep()
            part = left[: self._size - len(self._tail)]
            self._tail += part
            self._is_kept = False
            left = left[len(part) :]

    def keep(self) -> None:
        if self._is_kept:
            return
        if len(self._tail) == self._size:
            if self._multipart is None:
                self._multipart = self._objects.begin(self._key)
            self._parts.append(self._sent(self._multipart))
            self._tail = bytearray()
        state = _state(self.info, self._size, self._multipart, self._parts, self._tail)
        self._objects.put(state_key(self._upload), state)
        self._is_kept = True

    def _sent(self, multipart: str) -> dict[str, Any]:
        """The tail as a part."""
        return self._objects.part(self._key, multipart, len(self._parts) + 1, self._tail)

    def complete(self) -> None:
        if self._is_complete:
            return
        if self._multipart is None:
            self._objects.put(self._key, self._tail)
        else:
            last = [self._sent(self._multipart)] if self._tail else []
            self._objects.complete(
                self._key, self._multipart, [*self._parts, *last], self.info.length, new=False
            )
        self._is_complete = True

    def release(self) -> None:
        self._objects.delete(state_key(self._upload))

    def discard(self) -> None:
        self.release()
        if self._multipart is not None:
            self._objects.abort(self._key, self._multipart)
        self._objects.delete(self._key)
