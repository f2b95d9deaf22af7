"""What a conflict is about, without secrets."""

from __future__ import annotations

from typing import Any

from hexhub_backup.archive.changes import Change, short_change
from hexhub_backup.archive.credentials import is_secret
from hexhub_backup.registry.mapping.codecs import CodecError
from hexhub_backup.registry.mapping.mapped_kinds import MappedField


def change(field: MappedField, current: Any, archived: Any) -> Change | None:
    """What the registry and the archive hold, cut to what differs; None for a secret, which is only
    said to differ."""
    if is_secret(field.name):
        return None
    return short_change(_json(field, current), _json(field, archived))


def _json(field: MappedField, value: Any) -> Any:
    try:
        return None if value is None else field.codec.encode(value)
    except CodecError:
        return "?"
