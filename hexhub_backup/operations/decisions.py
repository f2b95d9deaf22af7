"""What an operation must have remembered with its decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from hexhub_backup.archive.records import Record, ReleaseFile

#: Seconds between two attempts to ask or tell a database that is away: one that restarts is back
#: by then. Recovery does it where that is not enough.
PAUSES: tuple[float, ...] = (0.1, 0.4, 1.0, 2.0, 3.0, 4.0)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class JournalEntry:
    """What a decision does to a stored file. `tag` is that of the file which stood there then,
    sealed. `record` is the release as it was decided: None where it was decided to be gone, and
    without a field where nothing was decided about its row."""

    file: ReleaseFile
    action: Literal["replace", "remove"]
    tag: str
    record: Record | None


def patiently(ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` returns, tried again where it fails. Raises what the last attempt raises."""
    for pause in PAUSES:
        try:
            return ask()
        except Exception:
            time.sleep(pause)
    return ask()


class Decisions(Protocol):
    """Decisions and their journals. Raises DatabaseError."""

    def staged(
        self, connection: Any, entries: Iterable[tuple[int, JournalEntry]]
    ) -> AbstractContextManager[None]:
        """Stage a journal beside the records, on the connection that is going to decide, before it
        does: nobody waits for it. Each entry comes with the number of its release."""

    def decide(
        self,
        connection: Any,
        operation_id: str,
        outcome: dict[str, Any],
        spared: Iterable[int],
    ) -> None:
        """Write the decision and the journal that was staged, without the releases that are spared,
        into the transaction that makes them true."""

    def decided(self, operation_id: str) -> bool: ...

    def journal(self, operation_id: str) -> Iterator[JournalEntry]:
        """What a decision does to stored files, once it is made."""

    def close_journal(self, operation_id: str, outcome: dict[str, Any] | None) -> None:
        """The journal was carried out; `outcome` is what came of it, where that is other than
        was decided."""
