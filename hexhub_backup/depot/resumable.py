"""A resumable upload in a directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hexhub_backup.archive.source import Source
from hexhub_backup.coordination import locking
from hexhub_backup.depot.base import UploadInfo
from hexhub_backup.durable import naming_full_disk, sync_directory
from hexhub_backup.errors import BusyError, NotFoundError


def state_of(path: Path) -> Path:
    """The file beside an upload that says what is known of it."""
    return path.with_suffix(".json")


def begin(path: Path, info: UploadInfo) -> None:
    """Raises OSError."""
    state, partial = state_of(path), path.with_suffix(".part")
    with naming_full_disk(path.parent):
        try:
            for place, content in ((state, json.dumps(info).encode()), (partial, b"")):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(place, flags, 0o600), "wb") as file:
                    file.write(content)
        except BaseException:
            state.unlink(missing_ok=True)
            raise


class FileUpload:
    """See `ResumableUpload`. The bytes that have arrived lie in `….part`, beside the file that says
    what is known of the upload: its time is that of the last bytes, and its lock the writer's."""

    def __init__(self, path: Path, state: Source) -> None:
        """Raises NotFoundError, BusyError where it is just being removed, OSError."""
        self.name = str(path)
        self.written = state.modified
        self._path = path
        self._partial = path.with_suffix(".part")
        try:
            self.info = UploadInfo(*json.loads(state.read(0, state.size)))
            try:
                flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
                self._file = locking.open_to_lock(self._partial, flags)
            except FileNotFoundError:
                self._file = locking.open_to_lock(path, os.O_RDONLY | os.O_NOFOLLOW)
        except (FileNotFoundError, ValueError):
            # A power loss may have left an empty file.
            raise NotFoundError(f"There is no upload at {path}: start again.") from None
        try:
            # What is too old is removed by whoever has it alone.
            locking.lock(self._file, shared=True)
        except BlockingIOError:
            locking.close(self._file)
            raise BusyError(f"{path} is in use just now: try again later.") from None

    @property
    def offset(self) -> int:
        return os.fstat(self._file).st_size

    def head(self, length: int) -> bytes:
        return os.pread(self._file, length, 0)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        with naming_full_disk(self._path.parent):
            while left:
                left = left[os.write(self._file, left) :]

    def keep(self) -> None:
        os.fsync(self._file)
        os.utime(state_of(self._path))

    def complete(self) -> None:
        if self._partial.exists():
            self._partial.rename(self._path)
            sync_directory(self._path.parent)

    def release(self) -> None:
        state_of(self._path).unlink(missing_ok=True)

    def discard(self) -> None:
        for path in (self._partial, self._path, state_of(self._path)):
            path.unlink(missing_ok=True)

    def __enter__(self) -> FileUpload:
        return self

    def __exit__(self, *_: object) -> None:
        locking.close(self._file)
