"""Files of this machine: opened, linked, and known by their tags."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import TypeVar

from hexhub_backup.durable import FULL
from hexhub_backup.errors import StorageError
from hexhub_backup.storage.base import StoredFile, bare, sealed, sha256_of
from hexhub_backup.storage.many import in_order

_CHUNK = 1 << 20
# So many files are worked on at a time, in parts of so many.
_AT_ONCE, _PART = 4, 100

_File = TypeVar("_File")
_Done = TypeVar("_Done")


class LocalFile:
    """An open file. Cheaper than Python's own, because each release has two."""

    __slots__ = ("_before", "_descriptor", "size")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self._descriptor)
            raise StorageError(f"{path} is not a file: move it out of the storage.")
        self.size = self._before.st_size

    @property
    def tag(self) -> str:
        return stored(self._before).tag

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def readinto(self, buffer: memoryview) -> int:
        return os.readv(self._descriptor, (buffer,))

    def changed(self) -> bool:
        before, after = self._before, os.fstat(self._descriptor)
        return before.st_mtime_ns != after.st_mtime_ns or before.st_size != after.st_size

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def create(path: str) -> int:
    """A descriptor of a new file, in a new folder where there is none."""
    return _open(path, os.O_EXCL)


def append(path: str, data: bytes) -> None:
    """Write to the end of a file, a new one in a new folder where there is none."""
    descriptor = _open(path, os.O_APPEND)
    try:
        write(descriptor, data)
    finally:
        os.close(descriptor)


def _open(path: str, flags: int) -> int:
    flags |= os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    # Most folders exist already.
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_folders(folder_of(path))
        return os.open(path, flags, 0o666)


def write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def make_folders(path: str) -> None:
    os.makedirs(path, exist_ok=True)  # noqa: PTH103 (as many as there are packages)


def empty(folder: str) -> None:
    """Remove the files of a folder, which may be so many that their names don't fit in memory;
    folders in it stay."""
    left = True
    while left:
        left = False
        # A folder from which files are removed while it is read may leave some out.
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    remove(entry.path)
                    left = True


def paths_in(folder: str, *, but: str) -> Iterator[str]:
    """The paths of all files in a folder and those in it, where there is one, without the folder
    `but`."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path
            elif entry.path != but:
                yield from paths_in(entry.path, but=but)


def each_of(do: Callable[[_File], _Done], files: Iterable[_File]) -> Iterator[_Done]:
    """Call `do` with each of many files, several at a time: some disks make everybody wait while
    they free the room of a file, and wait no longer for several at once."""

    def do_part(part: list[_File]) -> list[_Done]:
        return [do(file) for file in part]

    rest = iter(files)
    parts = iter(lambda: list(islice(rest, _PART)), [])
    first = list(islice(parts, 2))
    # Few files are not worth a thread.
    at_once = _AT_ONCE if len(first) > 1 else 1
    return chain.from_iterable(in_order(do_part, chain(first, parts), at_once))


def for_each(do: Callable[[_File], None], files: Iterable[_File]) -> None:
    for _ in each_of(do, files):
        pass


def remove(path: str) -> None:
    os.unlink(path)  # noqa: PTH108 (twice for each release)


def link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except (FileExistsError, FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno in FULL:
            raise
        raise StorageError(
            f"{destination} could not be linked to {source} ({error.strerror}): the storage has "
            "to be on one file system that knows hard links, and where this process may write."
        ) from error


def link_into(source: str, destination: str) -> None:
    """Link, into a new folder where there is none."""
    make_folders(folder_of(destination))
    link(source, destination)


def stat_of(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 (twice for each release)
    except (FileNotFoundError, NotADirectoryError):
        return None


def stored(status: os.stat_result) -> StoredFile:
    return StoredFile(status.st_size, _tag(status))


def _tag(status: os.stat_result) -> str:
    # Not st_ctime, which changes when a link is created.
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def known(path: str, tag: str, *, by_content: bool = True) -> str | None:
    """See `Storage.known`."""
    status = stat_of(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    if _tag(status) == bare(tag):
        return tag
    sha256 = sha256_of(tag)
    if not by_content or sha256 is None or status.st_size != int(bare(tag).split("-")[1]):
        return None
    try:
        now = sealed_tag(path)
    except FileNotFoundError:
        # The host has removed it just now.
        return None
    return now if sha256_of(now) == sha256 else None


def unwritten(path: str, tag: str) -> bool:
    """Whether nobody has written to a file since it had this tag, even where it was copied."""
    status = stat_of(path)
    return status is not None and _tag(status).partition("-")[2] == bare(tag).partition("-")[2]


def sealed_tag(path: str) -> str:
    """The tag of a file, sealed with its content; unsealed if it was written to in the meantime."""
    digest = hashlib.sha256()
    with LocalFile(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return file.tag if file.changed() else sealed(file.tag, digest.hexdigest())
