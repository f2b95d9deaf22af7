"""The storage of package and docs files, as operations use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from hexhub_backup.archive.records import ReleaseFile


@dataclass(frozen=True)
class StoredFile:
    """A stored file as it is now.

    `tag` changes when the file is replaced or written to, and may change when the storage is
    copied. It holds neither spaces nor line breaks."""

    size: int
    tag: str


def sealed(tag: str, sha256: str) -> str:
    """A tag that also identifies the file by its content, even after the storage was copied: the
    tag, a space, and the SHA-256 in hexadecimal digits."""
    return f"{bare(tag)} {sha256}"


def bare(tag: str) -> str:
    """A tag without its seal."""
    return tag.partition(" ")[0]


def sha256_of(tag: str) -> str | None:
    """The SHA-256 that a tag is sealed with; None for a tag without a seal, as old ones are."""
    return tag.partition(" ")[2] or None


class OpenFile(AbstractContextManager["OpenFile"], Protocol):
    """A stored file that is being read. Leaving the context closes it. `size` is that at first."""

    size: int

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end."""

    def readinto(self, buffer: memoryview) -> int:
        """Read the next bytes into `buffer`. Returns their number."""

    def changed(self) -> bool:
        """Whether the file was written to since it was opened."""


#: What becomes of a staged file: it is placed where there is none, for a release that has no row
#: yet or put back for one that has, or it replaces a stored one.
Purpose = Literal["place", "put_back", "replace"]


class Storage(Protocol):
    """The files of releases, and a staging area for files that will be stored.

    **Whose files.** Staged files belong to an operation, by its id, and so do files that are kept
    for its undo. `file` says which release's file each stands for. The host stores, overwrites and
    removes files whenever it likes, in other processes, and asks nobody.

    **Who calls.** Several threads and processes use a storage at the same time, and one operation
    calls `open`, `stat`, `known`, `stage`, `keep`, `stage_kept` and `replace` from `at_once`
    threads, each call for another file. Each other call is made by one thread of the operation.

    **When a process dies.** It may die in the middle of any call, and between any two. Another
    one then calls `take_back`, `flush`, `clear` and `forget` where there is no decision, or
    `replace`, `remove`, `flush` and `clear` where there is one, with the same arguments that the
    dead one had or would have had, and again from the first where it dies too. So the object itself
    holds no state that matters, and each of these is idempotent. What a call does for one file has
    happened wholly or not at all: a file in its place is never half written.

    **Tags.** A tag stands for one act of storing a file. It changes whenever somebody stores that
    file, also with the same bytes, and whenever somebody writes to it; nothing else but a copy of
    the whole storage changes it. It is one word. What an operation is going to store has its tag
    before it is there: `stage` tells it, and the undo set has it on disk before `place` is called.
    Whatever is removed or replaced is told by its tag, never by what it holds: the host may have
    stored the same bytes. A *sealed* tag (`sealed`) says beside it what the file holds: by that an
    undo knows a file again in a storage that was copied.

    `OSError`s are passed on. `hexhub_backup.testing` has the tests for a storage of your own.
    """

    #: The place of the files, for people: a path, or the name of a bucket.
    location: str
    #: How many calls for one file are worth being made at the same time: 1 for a disk, as many as
    #: there are connections for a server. So many small files are in memory, twice.
    at_once: int
    #: Whether `place` writes a file to be placed itself, from its content, and `stage` does not
    #: read it: where a file can't be moved, its bytes would be written twice.
    places_directly: bool

    def open(self, file: ReleaseFile) -> OpenFile:
        """The file's bytes. Raises FileNotFoundError where there is none. One that is open and not
        yet read holds at most a megabyte in memory."""

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        """The size in bytes of each file, in their order; None where there is none, or can be
        none."""

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        """The file as it is now, None where there is none. Raises StorageError for a folder."""

    def stats(self, files: Iterable[ReleaseFile]) -> Iterator[StoredFile | None]:
        """`stat` of each file, in their order."""

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        """The current tag of the stored file if it is the file that had `tag`, else None.

        A file with another tag counts as the same if it has the content that `tag` is sealed with.
        It is read for that, unless `by_content` is false.
        """

    def alike(self) -> Callable[[ReleaseFile], str] | None:
        """None where the storage can hold any two files. A storage that treats names as equal which
        differ in case or in Unicode normal form only returns a function, which returns the same
        text for two files of which it can hold only one."""

    def name_of(self, file: ReleaseFile) -> str:
        """What `names` calls the file, there or not: no other file has this name."""

    def names(self) -> Iterator[str]:
        """The names of all stored files: also of those that belong to no release, and are where
        those of releases are. Nothing that is staged or kept is among them."""

    def free(self) -> int:
        """The free space in bytes; `sys.maxsize` where nothing limits it."""

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        """Write a file to the staging area, for a purpose. Returns the tag that it will have once
        it is stored, of which no other file has had one. May make the folders that the file will
        be in; else nobody who looks at stored files sees anything of it.

        From the first call on `staged` tells of the operation, until `clear`. What dies while it
        writes leaves something that `clear` removes. With `places_directly` the chunks of a file to
        `place` are not read.
        """

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        """Keep the stored file with this tag for an undo of the operation, without handling its
        bytes here. Returns the tag, sealed; the file is read for that unless it was sealed before.
        What is kept outlives whatever becomes of the stored file, until `forget`. Raises
        ChangedError where the stored file is another one by now."""

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        """Stage the file that was kept for `undone`, to replace the stored one. Returns False where
        it is gone, or is not the file of the tag that `keep` returned. It stays kept."""

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        """The size in bytes of a file that is staged to replace one; None where none is."""

    def flush(self) -> None:
        """Make everything staged, kept, placed, replaced and removed so far survive a power
        loss."""

    def place(
        self,
        operation: str,
        files: Iterable[tuple[ReleaseFile, str]],
        content: Callable[[ReleaseFile], Iterable[bytes]],
    ) -> None:
        """Store these of the staged files that replace none; each comes with its tag, which it has
        then. `content` gives the bytes of a file once more, to a storage that `places_directly`; it
        is called by the caller's thread, and what it returns may be read by another one.

        Never replaces a file, at whatever moment the host stores one. Raises ChangedError where
        there is a file by now, and whatever `content` raises. Some may be placed then, as when it
        dies: `take_back` is called with all of them."""

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        """Remove the files that `place` stored, and no others: a file that was stored or
        overwritten since then stays, whatever it holds: as far as that can be seen before the file
        is removed. Remove the folders that `stage` and `place` made too, where they are empty. Most
        of `files` may never have been placed. Idempotent."""

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        """Replace the stored file that is `known` by this tag with the staged one: whoever reads it
        meanwhile gets the one or the other. Idempotent: True where that was done before. Returns
        False where the stored file is another one by now, or gone: so it stays."""

    def remove(self, files: Iterable[tuple[ReleaseFile, str]]) -> list[bool]:
        """Remove the stored files that are `known` by these tags. Idempotent. Returns False for
        each that is another one by now: it stays."""

    def clear(self, operation: str) -> None:
        """Remove all that is staged of the operation. Idempotent: where it dies, `staged` tells of
        the operation as long as something is left."""

    def forget(self, operation: str, *, undone: bool = False) -> None:
        """Remove the files that are kept for an undo of the operation. If it was `undone`, also
        remove the folders that it created, unless something is in them. Idempotent, as `clear`."""

    def kept(self) -> Iterator[str]:
        """The operations for whose undo something is kept."""

    def staged(self) -> Iterator[str]:
        """The operations that have a staging area."""
