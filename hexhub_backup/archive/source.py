"""Where the bytes of an archive are read from: a file, or whatever else has them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from hexhub_backup.archive.faults import refuse
from hexhub_backup.errors import NotFoundError, StorageError

#: Bytes that are read at a time where nobody says how many.
_CHUNK = 1 << 20


class Source(AbstractContextManager["Source"], Protocol):
    """The bytes of one archive, read by their places, by several threads at a time."""

    #: What the archive is called: its path, or its address.
    name: str
    #: Bytes of it.
    size: int
    #: Another one where the bytes are others.
    version: str
    #: Seconds since 1970: when it was written.
    modified: float
    #: Whether it costs little to read here and there.
    near: bool

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there, fewer only at the end. Raises StorageError where they can't be read."""

    def changed(self) -> bool:
        """Whether somebody has written to it since it was opened."""

    def forget(self) -> None:
        """Let the system drop what it remembers of what was read."""

    def close(self) -> None:
        """Let go of it."""


class ReadableFile(Protocol):
    """A file that is read from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, none at the end; all that is left where it is negative."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class HashedFile:
    """A file whose bytes are hashed as they are read, from its beginning on. `passed` is told how
    many bytes were read, `size` is how many these are by now."""

    def __init__(self, source: _Readable, passed: Callable[[int], None] = lambda _: None) -> None:
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


#: Opens an archive by its name. Raises NotFoundError, StorageError, ArchiveError for a folder.
OpenArchive = Callable[[str], Source]


class Reading:
    """A source as a file that is read from its beginning to its end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(self._at, size)
        self._at += len(data)
        return data


class FileSource:
    """A file of this machine."""

    near = True

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        """A `descriptor` that reads it already is used, and left open. Raises NotFoundError,
        StorageError where it can't be read, ArchiveError where it is no file."""
        self.name = str(path)
        self._is_ours = descriptor is None
        self._descriptor = _opened(path) if descriptor is None else descriptor
        status = os.fstat(self._descriptor)
        if self._is_ours and not stat.S_ISREG(status.st_mode):
            self.close()
            refuse("not_a_tar", f"{path} is not a regular file")
        self._mtime_ns = status.st_mtime_ns
        self.size = status.st_size
        self.version = str(self._mtime_ns)
        self.modified = status.st_mtime

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise _unread(self.name, error) from error

    def changed(self) -> bool:
        status = os.fstat(self._descriptor)
        return (status.st_size, status.st_mtime_ns) != (self.size, self._mtime_ns)

    def forget(self) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._is_ours and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(path: Path) -> int:
    try:
        # Opening a FIFO would wait for its writer.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFoundError(f"There is no archive at {path}.") from None
    except OSError as error:
        raise _unread(str(path), error) from error


def _unread(name: str, error: OSError) -> StorageError:
    """No ArchiveError: a disk that is away for a moment, or a process that has too many files open,
    says nothing of the archive, and one that is damaged may be deleted."""
    return StorageError(
        f"{name} could not be read: {error.strerror}. What is in it may be good: look at its disk "
        "and at its permissions, and try again."
    )
