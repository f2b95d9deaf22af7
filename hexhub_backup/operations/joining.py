"""Two streams of records, joined by their numbers or merged by their keys."""

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


def merged(
    lefts: Iterable[tuple[str, _Left]], rights: Iterable[tuple[str, _Right]]
) -> Iterator[tuple[str, _Left | None, _Right | None]]:
    """Each key of either stream with its value in both, None where one has it not. Both come as
    `(key, value)` in byte order of the key, each once."""
    ones, others = iter(lefts), iter(rights)
    left, right = next(ones, None), next(others, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None  # noqa: S101 (one of both is there)
            yield left[0], left[1], None
            left = next(ones, None)
        elif left is None or right[0] < left[0]:
            yield right[0], None, right[1]
            right = next(others, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(ones, None), next(others, None)
