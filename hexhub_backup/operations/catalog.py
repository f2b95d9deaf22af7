"""What an operation must have remembered with its decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hexhub_backup.archive.records import Record, ReleaseFile


@dataclass(frozen=True)
class Replacement:
    """A stored file that a decision replaces: the release as it was decided, and the tag of the
    file that stood there then."""

    file: ReleaseFile
    record: Record
    tag: str


class Catalog(Protocol):
    """Decisions and their journals. Raises DatabaseError."""

    def decide(
        self,
        connection: Any,
        operation_id: str,
        outcome: dict[str, Any],
        replacements: Iterable[Replacement],
    ) -> None:
        """Write the decision and its journal into the transaction that makes them true."""

    def decided(self, operation_id: str) -> bool: ...

    def replacements(self, operation_id: str) -> Iterator[Replacement]:
        """The journal of a decision: files that are to be replaced."""

    def close_journal(self, operation_id: str) -> None: ...
