"""The rules of one record, the same for those who write it and those who read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.records import (
    KINDS,
    PACKAGES,
    RELEASES,
    FieldType,
    Kind,
    Record,
    unsafe_name,
)
from hexhub_backup.archive.times import are_times, is_time
from hexhub_backup.errors import Fault
from hexhub_backup.marking import marked

_WORDS = {
    "text": marked("a text"),
    "boolean": marked("true or false"),
    "integer": marked("an integer"),
    "object": marked("an object"),
    "time": marked("a time such as 2026-01-31T10:30:00.000000Z"),
}
_TYPES: dict[FieldType, type] = {"text": str, "boolean": bool, "integer": int, "object": dict}
# By kind: the types that each field may have (null is the type of None), and which are times.
_ALLOWED = {
    kind: [
        (name, {str} if name in kind.key else {_TYPES.get(type_, str), type(None)})
        for name, type_ in kind.fields.items()
        if type_ != "any"
    ]
    for kind in KINDS
}
_TIMES = {kind: [name for name, type_ in kind.fields.items() if type_ == "time"] for kind in KINDS}


def check_record(kind: Kind, record: Any) -> list[Fault]:
    """What is wrong with the shape of a record and the types of its fields; empty if nothing.

    Fields that HexHub does not write are the host's own, and may hold anything.
    """
    if type(record) is not dict:
        return [Fault("bad_record", f"a {kind.one} must be an object", member=kind.member)]
    if are_well_formed(kind, {name: (value,) for name, value in record.items()}):
        return []
    faults = _faults_of_types(kind, record)
    # A fault of the key comes first.
    keyed = not faults or faults[0].field not in kind.key
    if keyed and kind in (PACKAGES, RELEASES):
        version = record["version"] if kind is RELEASES else "0"
        why = unsafe_name(record[kind.key[0]], version)
        if why is not None:
            label = label_of(kind, record)
            faults.append(Fault("unsafe_name", shown(why), kind.member, record=label))
    return faults or [Fault("bad_record", f"it is no {kind.one}", kind.member)]


def are_well_formed(kind: Kind, columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether nothing is wrong with records that are given by their fields: the one rule, which
    `check_record` explains."""
    for name, types in _ALLOWED[kind]:
        if not types.issuperset(map(type, columns.get(name, (None,)))):
            return False
    for name in _TIMES[kind]:
        if not are_times(columns.get(name, ())):
            return False
    keys = [columns[name] for name in kind.key]
    if kind in (PACKAGES, RELEASES):
        versions = keys[1] if kind is RELEASES else ("0",) * len(keys[0])
        return not any(map(unsafe_name, keys[0], versions))
    return all(map(all, keys))


def _faults_of_types(kind: Kind, record: Record) -> list[Fault]:
    texts = all(isinstance(record.get(name), str) for name in kind.key)
    label = label_of(kind, record) if texts else None
    faults = [
        Fault("bad_record", _key_problem(record, name), kind.member, field=name, record=label)
        for name in kind.key
        if not isinstance(record.get(name), str) or not record[name]
    ]
    for name, type_ in kind.fields.items():
        value = record.get(name)
        if value is None or name in kind.key or type_ == "any":
            continue
        good = (
            type(value) is str and is_time(value)
            if type_ == "time"
            else type(value) is _TYPES[type_]
        )
        if not good:
            message = f"it must be {_WORDS[type_]} or null"
            faults.append(Fault("bad_record", message, kind.member, field=name, record=label))
    return faults


def label_of(kind: Kind, record: Record) -> str:
    """The record's label, fit to be shown."""
    return shown(kind.label(kind.key_of(record)))


def _key_problem(record: Record, name: str) -> str:
    if name not in record:
        return marked("it is missing, and is part of the key")
    return marked("it is part of the key, and must be a text that is not empty")
