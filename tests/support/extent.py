"""How much the tests try that could try something at a thousand points: `make test-matrix` all that
they ask for, and `make test` a third of it, so that it stays short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_SHARE = 3
_whole = False


def try_all(whole: bool) -> None:
    """Set by the command line, before any test is collected."""
    global _whole  # noqa: PLW0603 (decorators of the tests ask for it when they are imported)
    _whole = whole


def step() -> int:
    """Of so many points one is tried."""
    return 1 if _whole else _SHARE


def fewer(count: int) -> int:
    """So many examples, or a third of them."""
    return -(-count // step())


def some(points: Iterable[T]) -> Iterator[T]:
    """All of these, or a third."""
    return islice(points, 0, None, step())
