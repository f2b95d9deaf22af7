"""What a field was and is, in words short enough for a page."""

from __future__ import annotations

import json
from typing import Any

#: A field's value before and after, or here and in the archive, as texts; None where it is null.
Change = tuple[str | None, str | None]

_LENGTH = 200
# So much of what is equal stays before the first difference.
_CONTEXT = 20


def short_change(old: Any, new: Any) -> Change:
    """Two JSON values, cut to what differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in old | new if _part(old, key) != _part(new, key)]
        old, new = ({key: each[key] for key in keys if key in each} for each in (old, new))
    one, other = _text(old), _text(new)
    start = 0
    if one is not None and other is not None:
        equal = next(
            (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        start = equal - _CONTEXT if max(len(one), len(other)) > _LENGTH else 0
    return _cut(one, start), _cut(other, start)


def _part(value: dict[str, Any], key: str) -> str | None:
    return json.dumps(value[key], sort_keys=True) if key in value else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    start = max(start, 0)
    part = text[start : start + _LENGTH]
    return ("…" if start else "") + part + ("…" if start + _LENGTH < len(text) else "")
