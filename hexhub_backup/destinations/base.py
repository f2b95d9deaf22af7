"""What a destination is: a place elsewhere that keeps copies of backups, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hexhub_backup.errors import NotFoundError, SettingError

#: A name is part of that of a step, and of a column for people.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,29}")
#: The name of the place that a backup is made in.
HERE = "here"


class Reader(Protocol):
    """Bytes that are read once, from the first to the last."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end. Whatever it raises ends a `put`."""


class OpenFile(AbstractContextManager["OpenFile"], Protocol):
    """A file of a destination that is being read. Leaving the context closes it."""

    #: Bytes of the whole file.
    size: int

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end of what was opened. Raises
        DestinationError where the destination goes away: the file can be opened again from
        there."""


@dataclass(frozen=True)
class Listed:
    """A file of a destination: its name, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class About:
    """What a destination says of itself when it was asked just now. `free` is in bytes, None where
    nothing limits it; `notes` are sentences for an admin."""

    free: int | None
    notes: tuple[str, ...] = ()


class Destination(Protocol):
    """A place elsewhere that holds files by name, without folders.

    Names have letters, digits, `-` and `.`, at most 80 of them. Several threads and processes use a
    destination at a time, also after a fork, so the object itself holds no state that matters; one
    name is written by one of them at a time. A process may be killed in the middle of any call.
    Each call ends: who does not answer in time is given up. Raises AwayError where the place can't
    be reached or is another one than it was, so that all that is asked of it would fail, and
    DestinationError where it refuses what is asked; their messages hold no secret. `OSError`s, of
    one file, are passed on. One that has `recipients`, a list of public keys,
    gets copies encrypted to these in place of the setting's; one that has `retention`, rules as
    those of HEXHUB_BACKUP_RETENTION, keeps copies by these in place of them.
    `hexhub_backup.testing` has the tests for a destination of your own.
    """

    #: What it is called on pages and in commands: small letters, digits, `-` and `_`.
    name: str
    #: Where it is, for people: a path, or the address of a bucket. No secret.
    location: str

    def init(self) -> None:
        """Make the place a destination, once and by hand. Idempotent."""

    def about(self) -> About:
        """Ask the place how it is: whether a copy could be written now."""

    def put(self, name: str, source: Reader, size: int) -> None:
        """Write a file from a reader of about `size` bytes: whole and durable, or not at all, also
        where the process is killed.

        What an earlier call left half written goes, or is gone on with where its bytes are the same
        as those that come. A file that is there is never replaced: raises
        FileExistsError. Raises SpaceError, and whatever the reader raises.
        """

    def lock(self, name: str) -> datetime | None:
        """Lock a file that is there, where the destination is set up to. Idempotent. Returns until
        when nobody can delete it; None where it may be deleted at any time. Raises
        FileNotFoundError, and DestinationError where it can't be locked."""

    def open(self, name: str, start: int = 0, length: int | None = None) -> OpenFile:
        """A part of a file, from byte `start` on, which the file has; all that follows, or at most
        `length` bytes. Raises FileNotFoundError."""

    def list(self) -> Iterator[Listed]:
        """Every whole file, in any order."""

    def delete(self, name: str) -> None:
        """Remove a file, and what is half written of it. Idempotent. Raises LockedError where it is
        locked until a day to come: it stays."""


def check_name(name: object) -> str:
    """The name of a destination. Raises SettingError where it can't be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == HERE:
        raise SettingError(
            f"A destination can't be called {name!r}: give it a name of at most 30 small letters, "
            f"digits, '-' and '_', such as offsite. '{HERE}' is where the backups themselves are."
        )
    return name


def find(destinations: Mapping[str, Destination], name: str) -> Destination:
    """The destination of a name. Raises NotFoundError."""
    if name not in destinations:
        known = ", ".join(destinations) or "none"
        raise NotFoundError(
            f"There is no destination {name}: init_app of hexhub_backup was given {known}."
        )
    return destinations[name]


def read_up_to(source: Reader, size: int) -> bytes:
    """So many bytes, or all that is left: one read may give fewer."""
    data = bytearray()
    while len(data) < size and (chunk := source.read(size - len(data))):
        data += chunk
    return bytes(data)
