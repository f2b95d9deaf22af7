"""A destination in a directory, such as a disk of another machine that is mounted here."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from hexhub_backup.destinations.base import About, Listed, Reader, check_name
from hexhub_backup.destinations.encryption import check_recipients
from hexhub_backup.durable import naming_full_disk, sync_directory
from hexhub_backup.errors import AwayError, DestinationError, SpaceError

#: Only a directory that has it is written to: one whose disk is not mounted has not.
MARKER = ".hexhub-backup-destination"
_PART = ".part"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,79}")
_CHUNK = 1024 * 1024
#: Bytes after which the system is told that nobody needs them any more.
_FORGET_EVERY = 8 * _CHUNK
#: What a file system says that can't flush a directory: a share of SMB, some of FUSE.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP)


class DirectoryDestination:
    """Copies in a directory that is made and mounted by others.

    `flask backups destinations init NAME` puts a marker file into it. Where the marker is missing,
    the disk is not mounted, and nothing is written: it would fill the disk below. Files are only
    for the owner of the process. A file is written as `….part`, flushed and renamed. `recipients`
    are the public keys that copies here are encrypted to, in place of those of
    HEXHUB_BACKUP_AGE_RECIPIENTS; `retention` are the rules by which they stay, in place of
    HEXHUB_BACKUP_RETENTION.
    """

    def __init__(
        self,
        name: str,
        path: Path | str,
        *,
        recipients: Sequence[str] | None = None,
        retention: Mapping[str, int] | None = None,
    ) -> None:
        """Raises SettingError for an argument that can't work, and where a library is missing."""
        self.name = check_name(name)
        self.path = Path(path).absolute()
        self.location = str(self.path)
        self.recipients = check_recipients(recipients, name)
        self.retention = retention

    def init(self) -> None:
        """Put the marker into the directory, which has to be there."""
        try:
            descriptor = os.open(self.path / MARKER, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise DestinationError(
                f"The directory {self.path} can't be made a destination ({error.strerror}): mount "
                "its disk, make the directory, and let this user write to it."
            ) from error
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._sync()

    def about(self) -> About:
        self._check()
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise DestinationError(
                f"The directory {self.path} can't be written to: let this user write to it."
            )
        return About(shutil.disk_usage(self.path).free)

    def put(self, name: str, source: Reader, size: int) -> None:
        target = self._place(name)
        if target.exists():
            raise FileExistsError(errno.EEXIST, "There is such a file already", str(target))
        part = self._part(name)
        part.unlink(missing_ok=True)
        free = shutil.disk_usage(self.path).free
        if size > free:
            raise SpaceError(
                f"The copy needs {size:,} bytes in {self.path}, and there are {free:,}: make room "
                "there. Nothing was written."
            )
        try:
            with naming_full_disk(self.path), _new_file(part) as file:
                while chunk := source.read(_CHUNK):
                    left = memoryview(chunk)
                    while left:
                        left = left[file.write(left) :]
                os.fsync(file.fileno())
            self._check()
            part.rename(target)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        self._sync()

    def lock(self, name: str) -> None:
        """No directory locks a file."""

    def open(self, name: str, start: int = 0, length: int | None = None) -> _OpenFile:
        return _OpenFile(self._place(name), start, length)

    def list(self) -> Iterator[Listed]:
        self._check()
        for entry in sorted(self.path.iterdir()):
            if _NAME.fullmatch(entry.name) and not entry.name.endswith(_PART):
                status = entry.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield Listed(entry.name, status.st_size)

    def delete(self, name: str) -> None:
        place = self._place(name)
        self._part(name).unlink(missing_ok=True)
        place.unlink(missing_ok=True)
        self._sync()

    def _check(self) -> None:
        """Raises AwayError where this is not the directory that it was made to be."""
        try:
            is_there = (self.path / MARKER).is_file()
        except OSError as error:
            raise AwayError(
                f"The directory {self.path} can't be looked at ({error.strerror}): mount its disk, "
                "and let this user read it."
            ) from error
        if not is_there:
            raise AwayError(
                f"The directory {self.path} is not there, or is not the destination {self.name}, "
                f"as it has no file {MARKER}: mount its disk. If it is the right one, run 'flask "
                f"backups destinations init {self.name}'."
            )

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name.endswith(_PART):
            raise ValueError(f"a destination holds no file {name!r}")
        self._check()
        return self.path / name

    def _part(self, name: str) -> Path:
        return self.path / f"{name}{_PART}"

    def _sync(self) -> None:
        try:
            sync_directory(self.path)
        except OSError as error:
            if error.errno not in _NO_FLUSH:
                raise


def _new_file(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)


def _opened(path: Path) -> IO[bytes]:
    """A file that is one: to open a pipe waits for its other end, and a link leads anywhere.
    Raises FileNotFoundError, OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no file", str(path))
    return os.fdopen(descriptor, "rb", buffering=0)


class _OpenFile:
    """A part of a file; see `base.OpenFile`."""

    def __init__(self, path: Path, start: int, length: int | None) -> None:
        self._file = _opened(path)
        self.size = os.fstat(self._file.fileno()).st_size
        self._file.seek(start)
        self._left = self.size - start if length is None else length
        self._cached = 0

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, self._left)) or b""
        self._left -= len(data)
        self._cached += len(data)
        if self._cached >= _FORGET_EVERY:
            self._forget()
        return data

    def _forget(self) -> None:
        """A copy is read once, and would push what others need out of the system's cache."""
        self._cached = 0
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        self._file.close()
