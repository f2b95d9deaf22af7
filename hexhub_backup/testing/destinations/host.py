"""What a host says of its destination, and the readers that the tests write from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from hexhub_backup.destinations.base import Destination

#: Names of which one begins as another one does, as a backup's files do.
ARCHIVE, SIDECAR, OTHER = (
    "hexhub-backup-20260131-103000-9f3ac1.tar",
    "hexhub-backup-20260131-103000-9f3ac1.json",
    "hexhub-backup-20260131-103000-9f3ac1.tar.age",
)


class DestinationHost:
    """Subclass it, and override `destination` and `reopen`."""

    @pytest.fixture
    def destination(self) -> Destination:
        """A destination that is made by `init` and holds nothing."""
        raise NotImplementedError

    def reopen(self, destination: Destination) -> Destination:
        """Another object for the same place, as another process would have it."""
        raise NotImplementedError

    def put(self, destination: Destination, name: str, content: bytes) -> bool:
        """Write a file as a copy does. Returns whether it is locked by now."""
        destination.put(name, Bytes(content), len(content))
        return destination.lock(name) is not None

    def content(self, destination: Destination, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        try:
            with destination.open(name) as file:
                return b"".join(iter(partial(file.read, 64 * 1024), b""))
        except FileNotFoundError:
            return None

    def listed(self, destination: Destination) -> dict[str, int]:
        """The names and sizes of all files."""
        return {each.name: each.size for each in destination.list()}


class Bytes:
    """Gives its bytes in pieces that are smaller than those that are asked for."""

    def __init__(self, content: bytes) -> None:
        self._pieces: Iterator[bytes] = (
            content[at : at + 7_777] for at in range(0, len(content), 7_777)
        )
        self._left = b""

    def read(self, size: int, /) -> bytes:
        self._left = self._left or next(self._pieces, b"")
        piece, self._left = self._left[:size], self._left[size:]
        return piece
