"""What a conflict is about, in words short enough for a page, and without secrets."""

from __future__ import annotations

import json
from typing import Any

from hexhub_backup.archive.credentials import is_secret
from hexhub_backup.registry.mapping.codecs import CodecError
from hexhub_backup.registry.mapping.mapped_kinds import MappedField

#: A field's value in the registry and in the archive, as texts; None where it is null.
Change = tuple[str | None, str | None]

_LENGTH = 200
# So much of what is equal stays before the first difference.
_CONTEXT = 20


def change(field: MappedField, current: Any, archived: Any) -> Change | None:
    """The two values, cut to what differs; None for a secret, which is only said to differ."""
    if is_secret(field.name):
        return None
    old, new = _json(field, current), _json(field, archived)
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


def _json(field: MappedField, value: Any) -> Any:
    try:
        return None if value is None else field.codec.encode(value)
    except CodecError:
        return "?"


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
