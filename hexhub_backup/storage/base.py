"""What an operation needs of the place where package and docs files live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from hexhub_backup.archive.records import ReleaseFile


@dataclass(frozen=True)
class StoredFile:
    """A stored file as it is now. `tag` is another one as soon as the file is replaced or
    written to."""

    size: int
    tag: str


class Storage(Protocol):
    """Files by release, and a staging area from which they are put into place.

    Staged files belong to an operation, lie on the file system of their destination, and are
    found again after a crash. `OSError`s are passed on.
    """

    root: Path

    def open(self, file: ReleaseFile) -> BinaryIO:
        """The file's bytes. Raises FileNotFoundError where there is none."""

    def stat(self, file: ReleaseFile) -> StoredFile | None: ...

    def free(self) -> int:
        """Bytes that can still be written."""

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, replaces: bool
    ) -> None:
        """Write a file to the staging area, to take the place of a stored one or of none."""

    def flush(self) -> None:
        """Make everything staged and placed so far survive a power loss."""

    def place(self, operation: str) -> int:
        """Link every staged file that replaces none to its place; gives how many that were.
        Raises ChangedError where there is a file by now; call `take_back` then."""

    def take_back(self, operation: str) -> None:
        """Remove what `place` linked, and only that: a file that is still the staged one."""

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        """Put a staged file in the place of the stored one that has this tag, unless that has
        been done before. False where the stored file is another by now: it stays."""

    def clear(self, operation: str) -> None:
        """Remove what is left in the staging area."""

    def staged(self) -> Iterator[str]:
        """The operations that have a staging area."""
