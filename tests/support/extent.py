"""How much the tests try that could try something at a thousand points: `make test` a third of what
`make test-matrix` tries, and `make torture` each point where that would take an hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_SHARE = 3
_whole = _each = False


def try_all(whole: bool, each: bool) -> None:
    """Set by the command line, before any test is collected."""
    global _whole, _each
    _whole, _each = whole, each


def sparse(step: int) -> int:
    """Of so many points one is tried, but for `make torture`, which tries each."""
    return 1 if _each else step


def step() -> int:
    """Of so many points one is tried."""
    return 1 if _whole else _SHARE


def fewer(count: int) -> int:
    """So many examples, or a third of them."""
    return -(-count // step())


def some(points: Iterable[T]) -> Iterator[T]:
    """All of these, or a third."""
    return islice(points, 0, None, step())
