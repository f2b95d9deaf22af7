"""What a new archive is written to, wherever it will be kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from hexhub_backup.archive.source import Source


class Output(Protocol):
    """A file that is written, and read again where it was written."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int: ...

    def flush(self) -> None: ...

    def read(self, size: int, /) -> bytes: ...

    def seek(self, at: int, /) -> int: ...

    def truncate(self) -> int:
        """Let it end where it is."""


class NewArchive(Protocol):
    """An archive that is being made: nobody takes it for one before it is published."""

    @property
    def file(self) -> Output:
        """What it is written to."""

    def mark(self, at: int) -> None:
        """Say that nothing before this place is written any more, or cut off."""

    def complete(self) -> AbstractContextManager[Source]:
        """All of it is written: gives what reads it back. It is made durable meanwhile."""

    def publish(self) -> None:
        """Let it be the archive of its backup, durably. Raises OSError, BackupError."""

    def close(self) -> None:
        """Let go of it."""

    def discard(self) -> None:
        """Let nothing be left of it, also where it was published. Idempotent."""
