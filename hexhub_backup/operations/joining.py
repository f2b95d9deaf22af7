"""Two streams of the same records, joined by the records' numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from hexhub_backup.errors import BackupError

_Left = TypeVar("_Left")
_Right = TypeVar("_Right")


def joined(
    wanted: Iterable[tuple[int, _Left]],
    rows: Iterable[tuple[int, _Right]],
    missing: Callable[[_Left], BackupError],
) -> Iterator[tuple[_Left, _Right]]:
    """Each of `wanted` with the row of its number; both come as `(n, value)` in order of n.

    Rows that nobody wants are passed over, and a number may be wanted several times in a row.
    Where there is no row, the error that `missing` makes for the wanted value is raised.
    """
    following = Following(rows)
    for n, value in wanted:
        row = following.at(n)
        if row is None:
            raise missing(value)
        yield value, row


class Following(Generic[_Right]):
    """Rows that come as `(n, value)` in order of n, asked for in this order too."""

    def __init__(self, rows: Iterable[tuple[int, _Right]]) -> None:
        self._rows = iter(rows)
        self._row = next(self._rows, None)

    def at(self, n: int) -> _Right | None:
        """The value of a number, None where there is no row."""
        row = self._row
        while row is not None and row[0] < n:
            row = self._row = next(self._rows, None)
        return row[1] if row is not None and row[0] == n else None
