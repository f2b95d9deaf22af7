"""What is being written into a bucket: a new archive, and what comes in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hexhub_backup.depot.s3_objects import DepotError, Objects
from hexhub_backup.depot.s3_parts import Parts, part_size
from hexhub_backup.depot.s3_source import S3Source
from hexhub_backup.s3.server import RacedError, TakenError

_CHUNK = 1024 * 1024
#: About so many bytes come in at most where nobody knows before how many.
_UPLOAD = 150 * 1024**3


class S3NewArchive:
    """A new archive; see `NewArchive`. It goes out in one pass: only its records are written into
    a file of this machine before, as their sizes are known after them.

    It gets its name before it is read back, as S3 reads nothing that is not complete: that it has
    the name says nothing of it.
    """

    def __init__(self, objects: Objects, key: str, name: str, about: int, work: Path) -> None:
        self._objects = objects
        self._key = key
        self._name = name
        self._spool = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 (closed by `close`)
        self._parts = Parts(objects, key, part_size(about))
        self._is_spooled = True
        self._at = 0
        self._may_be_there = False

    @property
    def file(self) -> S3NewArchive:
        return self

    # what it is written to

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if self._is_spooled:
            return self._spool.write(data)
        self._parts.write(data)
        return len(data)

    def flush(self) -> None:
        """It is sent when a part is full."""

    def read(self, size: int, /) -> bytes:
        return self._spool.read(size)

    def seek(self, at: int, /) -> int:
        self._at = at
        return self._spool.seek(at) if self._is_spooled else at

    def truncate(self) -> int:
        if self._is_spooled:
            return self._spool.truncate()
        self._parts.cut(self._at)
        return self._at

    def mark(self, at: int) -> None:
        if self._is_spooled:
            self._send_spool()
        self._parts.mark(at)

    def _send_spool(self) -> None:
        self._spool.flush()
        self._spool.seek(0)
        while chunk := self._spool.read(_CHUNK):
            self._parts.write(chunk)
        self._spool.seek(0)
        self._spool.truncate()
        self._is_spooled = False

    # what becomes of it

    @contextmanager
    def complete(self) -> Iterator[S3Source]:
        if self._is_spooled:
            self._send_spool()
        self._may_be_there = True
        # Its name is that of one operation alone: the answer to the first attempt was lost.
        with suppress(TakenError, RacedError):
            self._parts.complete(new=True)
        found = self._objects.head(self._key)
        if found is None or found.size != self._parts.length:
            raise DepotError(f"{self._name} is not there, or not whole: start again.")
        with S3Source(self._objects, self._key, found, self._name) as source:
            yield source

    def publish(self) -> None:
        """It has its name, and the row of its backup says that it is whole."""

    def close(self) -> None:
        self._parts.close()
        self._spool.close()

    def discard(self) -> None:
        self._parts.close()
        if self._may_be_there:
            self._objects.delete(self._key)


class S3Upload:
    """What comes in; see `NewUpload`."""

    def __init__(self, objects: Objects, key: str, name: str, about: int = _UPLOAD) -> None:
        self.name = name
        self._objects = objects
        self._key = key
        self._parts = Parts(objects, key, part_size(about))

    def write(self, data: bytes) -> None:
        self._parts.write(data)

    def complete(self) -> None:
        self._parts.complete(new=False)

    def discard(self) -> None:
        self._parts.close()
        self._objects.delete(self._key)

    def __enter__(self) -> S3Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()
