"""Records as the lines of their member, checked as they are written.

Nearly all records of a registry are plain, which a few steps show for a whole column: they are
checked and encoded in a third of the time that one after the other takes. What is not plain is left
to the rules of a single record, which also say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.records import Kind, Record
from hexhub_backup.archive.rules.fields import are_well_formed, check_record, label_of
from hexhub_backup.archive.rules.strict_json import (
    INTEGERS,
    MAX_DEPTH,
    MAX_VALUES,
    StrictJSONError,
    dumps,
)
from hexhub_backup.errors import Fault, RecordError

_LITERALS = {None: "null", True: "true", False: "false"}
_NULL = type(None)
# The batch stands in memory, and three times as text.
_MAX_CHARACTERS = 1024 * 1024


def plain_lines(kind: Kind, batch: Batch) -> list[bytes] | None:
    """The records as `dumps` returns them, None where one of them may break a rule, or they are
    so large that they had better not be in memory twice."""
    if not are_well_formed(kind, batch.columns):
        return None
    left = _MAX_CHARACTERS
    columns = []
    try:
        for column in batch.columns.values():
            columns.append(_texts(column, left))
            left -= sum(map(len, columns[-1]))
        names = (encode_basestring(name).replace("%", "%%") for name in batch.columns)
        form = "{" + ",".join(f"{name}:%s" for name in names) + "}"
        lines = [(form % texts).encode() for texts in zip(*columns, strict=True)]
    except (StrictJSONError, UnicodeEncodeError):
        return None
    # What stands for a NUL character may also be text, behind another backslash.
    if b"\\u0000" in b"".join(lines) or max(map(len, lines)) > MAX_VALUES:
        return None
    return lines


def _texts(column: Sequence[Any], room: int) -> list[str]:
    """Each value as JSON. Raises StrictJSONError where a look at the whole record is needed, or
    they take more than `room`."""
    types = set(map(type, column))
    if types <= {str, _NULL}:
        if sum(map(len, filter(None, column))) > room:
            raise StrictJSONError("they are large")
        texts = ["null" if each is None else encode_basestring(each) for each in column]
    elif types <= {bool, _NULL}:
        texts = [_LITERALS[each] for each in column]
    elif types == {int} and min(column) in INTEGERS and max(column) in INTEGERS:
        texts = list(map(str, column))
    else:
        # A registry uses one object for equal values.
        known: dict[int, str] = {}
        for each in column:
            if id(each) not in known:
                known[id(each)] = text = dumps(each).decode()
                if text.count("[") + text.count("{") >= MAX_DEPTH:
                    raise StrictJSONError("in its record it may be too deep")
            room -= len(known[id(each)])
            if room < 0:
                raise StrictJSONError("they are large")
        texts = [known[id(each)] for each in column]
    return texts


def checked_line(kind: Kind, record: Record) -> bytes:
    """A record as `dumps` returns it. Raises RecordError for one that breaks a rule."""
    faults = check_record(kind, record)
    if not faults:
        try:
            return dumps(record)
        except StrictJSONError as error:
            field = None if error.field is None else shown(error.field)
            label = label_of(kind, record)
            faults = [Fault("bad_record", str(error), kind.member, field=field, record=label)]
    raise RecordError(
        f"The {kind.one} can not be backed up: {faults[0]}. Fix the row in the registry.", faults
    )
