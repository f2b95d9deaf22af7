"""How faults are gathered, worded and raised."""

from __future__ import annotations

from typing import NoReturn

from hexhub_backup.errors import ArchiveError, Fault
from hexhub_backup.marking import marked

#: A refused archive lists so many faults, and counts the others.
MAX_FAULTS = 100
GET_AGAIN = marked("get the archive again from where it came")
_MAX_SHOWN = 300


def shown(text: str) -> str:
    """Hostile text, fit for a message, a log line and a page: escaped where it is not
    printable (line breaks and bidirectional controls among others), and of bounded length."""
    if len(text) > _MAX_SHOWN:
        text = f"{text[:_MAX_SHOWN]}…"
    return text if text.isprintable() else repr(text)[1:-1]


def refuse(code: str, message: str, member: str | None = None) -> NoReturn:
    """Raise ArchiveError for the one fault behind which nothing can be read."""
    faults = FaultList()
    faults.add(Fault(code, message, member=None if member is None else shown(member)))
    faults.raise_if_any()
    raise AssertionError("unreachable")


class FaultList:
    """Any number of faults: the first hundred of them, and how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.first) < MAX_FAULTS:
            self.first.append(fault)

    def add_all(self, error: ArchiveError) -> None:
        """Take over the faults of an error that was raised for one part of the archive."""
        for fault in error.faults:
            self.add(fault)

    def raise_if_any(self) -> None:
        """Raise one ArchiveError for all that was added."""
        if not self.count:
            return
        first = f"The archive can't be used: {self.first[0]}"
        if self.count == 1:
            raise ArchiveError(first, self.first)
        more, listed = self.count - 1, MAX_FAULTS - 1
        if self.count > MAX_FAULTS:
            raise ArchiveError(
                f"{first} (and {more} more, of which the first {listed} are listed)", self.first
            )
        raise ArchiveError(f"{first} (and {more} more)", self.first)
