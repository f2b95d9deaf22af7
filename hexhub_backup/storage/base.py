"""What an operation needs of the place where package and docs files live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hexhub_backup.archive.records import ReleaseFile


@dataclass(frozen=True)
class StoredFile:
    """A stored file as it is now. `tag` is another one as soon as the file is replaced or
    written to, and also when the storage is copied."""

    size: int
    tag: str


def sealed(tag: str, sha256: str) -> str:
    """A tag by which a file is known again also where the storage was copied: by its content.

    As a text: the tag, a space, and the SHA-256 in hexadecimal digits.
    """
    return f"{bare(tag)} {sha256}"


def bare(tag: str) -> str:
    """A tag without the seal that it may have."""
    return tag.partition(" ")[0]


def sha256_of(tag: str) -> str | None:
    """What a tag is sealed with; None for one that is not, as all were once."""
    return tag.partition(" ")[2] or None


class OpenFile(AbstractContextManager["OpenFile"], Protocol):
    """A stored file as it is read; leaving it closes it. `size` is that when it was opened."""

    size: int

    def read(self, size: int) -> bytes:
        """The next bytes, up to `size`; none at the end."""

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer`; gives how many."""

    def changed(self) -> bool:
        """Whether the file was written to since it was opened."""


class Storage(Protocol):
    """Files by release, and a staging area from which they are put into place.

    Staged files belong to an operation, lie on the file system of their destination, and are
    found again after a crash. `OSError`s are passed on.
    """

    root: Path

    def open(self, file: ReleaseFile) -> OpenFile:
        """The file's bytes. Raises FileNotFoundError where there is none."""

    def size(self, file: ReleaseFile) -> int | None:
        """How many bytes the file has, None where there is none."""

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        """The file as it is now, None where there is none. Raises StorageError for a folder."""

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        """The tag that the stored file has now, where it is the one that had `tag`: else None.

        A file of another tag is the same where it has the content that `tag` is sealed with; it
        is read for that, unless `by_content` is false.
        """

    def alike(self) -> Callable[[ReleaseFile], str] | None:
        """None where any two files have places of their own. Where they have not, as the storage
        takes names for one that differ in case or in Unicode normal form only: a function that
        gives the same text for two files of which it can hold one."""

    def free(self) -> int:
        """Bytes that can still be written."""

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, replaces: bool
    ) -> str:
        """Write a file to the staging area, to take the place of a stored one or of none. Gives
        the tag that it will have in its place."""

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        """Keep the stored file that has this tag for an undo of the operation, without a copy of
        its bytes. Gives the tag, sealed; the file is read for that, unless it was sealed before.
        Raises ChangedError where the stored file is another by now."""

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        """Stage the file that `undone` kept, to take the place of the stored one. False where it
        is not there any more, or not the one of the tag that `keep` gave."""

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        """How many bytes a file has that is staged to replace one; None where none is."""

    def flush(self) -> None:
        """Make everything staged and placed so far survive a power loss."""

    def place(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        """Link staged files that replace none to their places; each comes with its tag. Raises
        ChangedError where there is a file by now; call `take_back` then."""

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        """Remove what `place` linked, and only that: what was stored or written over since
        stays, whatever it holds."""

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        """Put a staged file in the place of the stored one that is `known` by this tag, unless
        that has been done before. False where the stored file is another by now: it stays."""

    def remove(self, file: ReleaseFile, tag: str) -> bool:
        """Remove the stored file that is `known` by this tag, unless there is none any more.
        False where the stored file is another by now: it stays."""

    def clear(self, operation: str) -> None:
        """Remove what is left in the staging area."""

    def forget(self, operation: str, *, undone: bool = False) -> None:
        """Remove what is kept for an undo of the operation; where it was `undone` also the
        folders that it had made, unless something is in them."""

    def kept(self) -> Iterator[str]:
        """The operations for whose undo something is kept."""

    def staged(self) -> Iterator[str]:
        """The operations that have a staging area."""
