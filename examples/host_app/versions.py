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
_Order = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def latest(versions: Iterable[str], *, stable: bool = False) -> str | None:
    """The largest of those that are versions, and no pre-releases if it is to be `stable`; None
    where there is none. What was restored may have others."""
    found = (_VERSION.fullmatch(each) for each in versions)
    chosen = (each for each in found if each is not None and not (stable and each["pre"]))
    last = max(chosen, key=_order, default=None)
    return None if last is None else last[0]


def _order(version: re.Match[str]) -> _Order:
    pre = version["pre"]
    # Numbers go before words.
    parts = (
        (False, int(part), "") if part.isdigit() else (True, 0, part)
        for part in (pre or "").split(".")
    )
    return tuple(map(int, version["core"].split("."))), pre is None, tuple(parts)
