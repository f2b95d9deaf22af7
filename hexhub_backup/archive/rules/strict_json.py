"""Strict JSON: what it is, and how values are written as such. `json_rows` reads it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hexhub_backup.marking import marked

MAX_ROW_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 400
#: Keys and values in one row.
MAX_VALUES = 250_000
#: JSON has no limit. This is below that of Python, which can be set to 640 digits.
INTEGERS = range(1 - 10**MAX_DIGITS, 10**MAX_DIGITS)

_PIECE = 256 * 1024
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")
DIGITS_TO_0 = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
# A circle is too deep for the stack, and found by that.
_encode = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
).encode

TOO_LARGE = marked(f"it is larger than {MAX_ROW_BYTES // 1024**2} MiB")
TOO_DEEP = marked(f"it is nested deeper than {MAX_DEPTH} levels")
TOO_MANY = marked(f"it holds more than {MAX_VALUES} values")
_BAD_TEXT = marked("a text holds a NUL character or half of a surrogate pair")
BIG_INTEGER = marked(f"an integer has more than {MAX_DIGITS} digits")
NOT_FINITE = marked("a number is not finite")


class StrictJSONError(ValueError):
    """Text that is not strict JSON, or a value that can not be written as such.

    `row` counts from 1, `field` is the key of the outermost object. The message never quotes
    values: they may be secrets.
    """

    def __init__(self, message: str, row: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.field = field


def dumps(value: Any, end: bytes = b"") -> bytes:
    """The value as one line, keys in alphabetical order, and what ends it. Raises
    StrictJSONError for whatever `read_rows` would refuse."""
    try:
        data = _encode(value).encode() + end
    except (ValueError, TypeError, RecursionError):
        raise find_problem(value) or StrictJSONError("it can not be written as JSON") from None
    if len(data) > MAX_ROW_BYTES:
        raise StrictJSONError(TOO_LARGE)
    if (
        b"\\u0000" in data
        or data.count(b"[") + data.count(b"{") > MAX_DEPTH
        or len(data) > MAX_VALUES
        or _LONG_NUMBER in data.translate(DIGITS_TO_0)
    ):
        problem = find_problem(value)
        if problem is not None:
            raise problem
    return data


def encoded_size(value: Any) -> int:
    """How many bytes the value takes as a row, with what parts it from the next."""
    return len(dumps(value)) + 2


def write_rows(rows: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of an array of rows that were made by `dumps`, many rows at a time."""
    pending = bytearray(b"[")
    separator = b"\n"
    for row in rows:
        pending += separator
        pending += row
        separator = b",\n"
        if len(pending) >= _PIECE:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending) + (b"]\n" if separator == b"\n" else b"\n]\n")


def find_problem(value: Any) -> StrictJSONError | None:
    """What about a value breaks a rule, found by looking at all of it, without recursion."""
    if type(value) is not dict:
        problem, _ = _find(value, 1, 0)
        return None if problem is None else StrictJSONError(problem)
    count = 1
    for field, item in value.items():
        problem = _problem_of_key(field)
        if problem is not None:
            return StrictJSONError(problem)
        problem, count = _find(item, 2, count + 1)
        if problem is not None:
            return StrictJSONError(problem, field=field)
    return None


def _find(value: Any, depth: int, count: int) -> tuple[str | None, int]:
    # Iterators, not lists of what is to be seen: they stay small beside a hostile value.
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for item in stack[-1]:
            count += 1
            kind = type(item)
            if kind is dict:
                count += len(item)
                problem = next(filter(None, map(_problem_of_key, item)), None)
            else:
                problem = _problem_of(item)
            if problem is None and count > MAX_VALUES:
                problem = TOO_MANY
            if kind in (dict, list, tuple):
                if depth + len(stack) - 1 > MAX_DEPTH:
                    problem = TOO_DEEP
                stack.append(iter(item.values() if kind is dict else item))
            if problem is not None:
                return problem, count
            if kind in (dict, list, tuple):
                break
        else:
            stack.pop()
    return None, count


def _problem_of_key(key: Any) -> str | None:
    return _problem_of(key) if type(key) is str else marked("a key is no text")


def _problem_of(item: Any) -> str | None:
    kind = type(item)
    if kind is str:
        return _BAD_TEXT if _BAD_CHARACTER.search(item) else None
    if kind is int:
        return None if item in INTEGERS else BIG_INTEGER
    if kind is float:
        return None if math.isfinite(item) else NOT_FINITE
    if item is None or kind in (bool, dict, list, tuple):
        return None
    return marked(f"a value of the type {kind.__name__} has no form in JSON")
