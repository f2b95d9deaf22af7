"""Files of the backup directory that are being written: a new archive, and what comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hexhub_backup.archive.source import FileSource
from hexhub_backup.beside import start
from hexhub_backup.durable import naming_full_disk, sync_directory


class NewFile:
    """A new archive, in a `.part` beside the place that it will have; the rename is its commit. See
    `NewArchive`."""

    def __init__(self, partial: Path, archive: Path) -> None:
        """Raises OSError."""
        self._partial = partial
        self._archive = archive
        self.file = _new_file(partial)
        self._synced: Future[None] | None = None

    def mark(self, at: int) -> None:
        """A file can be cut anywhere."""

    @contextmanager
    def complete(self) -> Iterator[FileSource]:
        with ThreadPoolExecutor(1) as beside, FileSource(self._partial) as written:
            # One waits for the disk, the other for the processor.
            self._synced = start(beside, os.fsync, self.file.fileno())
            yield written

    def publish(self) -> None:
        assert self._synced is not None  # noqa: S101 (it is complete)
        self._synced.result()
        self._partial.rename(self._archive)
        sync_directory(self._archive.parent)

    def close(self) -> None:
        self.file.close()

    def discard(self) -> None:
        for path in (self._archive, self._partial):
            path.unlink(missing_ok=True)


def _new_file(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "w+b")


class Upload:
    """A file that comes in; see `NewUpload`. It has the place that it is to have when it is whole,
    or is a work file, which is there already."""

    def __init__(self, path: Path, *, partial: Path | None = None) -> None:
        """Raises OSError."""
        self.name = str(path)
        self._path = path
        self._partial = partial
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        if partial is not None:
            flags |= os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(partial or path, flags, 0o600), "wb", buffering=0)
        try:
            if partial is None:
                self._file.truncate()
        except BaseException:
            self._file.close()
            raise

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        with naming_full_disk(self._path.parent):
            while left:
                left = left[self._file.write(left) :]

    def complete(self) -> None:
        self._file.close()
        if self._partial is not None:
            self._partial.rename(self._path)

    def discard(self) -> None:
        self._file.close()
        for path in (self._partial, self._path):
            if path is not None:
                path.unlink(missing_ok=True)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
