"""Versions of releases, by the rules of Semantic Versioning 2.0."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"(?P<core>{_NUMBER}\.{_NUMBER}\.{_NUMBER})(?:-(?P<pre>{_WORD}(?:\.{_WORD})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
#: What sorts releases: the three numbers, whether it is no pre-release, and the parts of one.
Order = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def is_stable(version: str) -> bool:
    """Whether it is no pre-release."""
    return _order(version)[1]


def latest(versions: Iterable[str]) -> str | None:
    """The largest of those that are versions; None where none is."""
    return max(filter(is_version, versions), key=_order, default=None)


def _order(version: str) -> Order:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version} is no version")
    pre = found["pre"]
    # Numbers go before words.
    parts = (
        (False, int(part), "") if part.isdigit() else (True, 0, part)
        for part in (pre or "").split(".")
    )
    return tuple(map(int, found["core"].split("."))), pre is None, tuple(parts)
