"""Strict JSON: arrays of rows read and written as streams, and one small document.

The parser is the standard library's C scanner over a growing window of strictly decoded text,
and not ijson: ijson's yajl silently turns lone surrogates into `?` and can not tell that a key
is there twice. What the scanner lets pass (NaN, integers of any length, any depth) is refused
here. A window is measured before it is parsed where it could cost more memory or stack than a
row may, so that a hostile member costs a bounded amount of both (CVE-2020-10735 for digits).
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

MAX_ROW_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 400
#: Keys and values in one row.
MAX_VALUES = 250_000
#: JSON has no limit. This is below that of Python, which can be set to 640 digits.
INTEGERS = range(1 - 10**MAX_DIGITS, 10**MAX_DIGITS)

_LOOK_AHEAD = 64 * 1024
_MAX_LOOK_AHEAD = 1024 * 1024
_PIECE = 256 * 1024
# The scanner recurses once per bracket: so many levels fit on any thread's stack.
_MAX_BRACKETS_UNMEASURED = 4000
_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'["\[\]{}]')
# In parts, because the matcher remembers each turn of a repeated group.
_STRING_PART = re.compile(r'[^"\\]*(?:\\.[^"\\]*){0,1000}("?)', re.DOTALL)
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")
_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
# A circle is too deep for the stack, and found by that.
_encode = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
).encode

_TOO_LARGE = f"it is larger than {MAX_ROW_BYTES // 1024**2} MiB"
_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"
_TOO_MANY = f"it holds more than {MAX_VALUES} values"
_NOT_UTF8 = "it is not UTF-8"
_BAD_TEXT = "a text holds a NUL character or half of a surrogate pair"
_BIG_INTEGER = f"an integer has more than {MAX_DIGITS} digits"
_NOT_FINITE = "a number is not finite"


class StrictJSONError(ValueError):
    """Text that is not strict JSON, or a value that can not be written as such.

    `row` counts from 1, `field` is the key of the outermost object. The message never quotes
    values: they may be secrets.
    """

    def __init__(self, message: str, row: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.field = field


class Row(NamedTuple):
    """One value of an array.

    `body` is its text as it stands there, in UTF-8; `problem` is why it is refused, if it is.
    """

    number: int
    value: Any
    body: bytes
    problem: StrictJSONError | None


def read_rows(read: Callable[[int], bytes]) -> Iterator[Row]:
    """The rows of a JSON array that `read(n)` gives the next bytes of, up to `n`.

    Raises StrictJSONError where the end of a row is not to be found, behind which nothing can
    be read; a row that only breaks a rule has a `problem`.
    """
    window = _Window(read)
    scanner = _Scanner()
    first = window.peek()
    if first == "\ufeff":
        raise StrictJSONError("it begins with a byte order mark; save it without")
    if first != "[":
        raise StrictJSONError("it is not an array" if first else "it is empty")
    window.at += 1
    number = 0
    separator = "" if window.peek() != "]" else "]"
    while separator != "]":
        number += 1
        try:
            yield _read_row(window, scanner, number)
            separator = window.peek()
        except StrictJSONError as error:
            raise StrictJSONError(str(error), number) from None
        if separator not in (",", "]"):
            what = "it is followed by neither a comma nor the end of the array"
            raise StrictJSONError(what if separator else "the array has no end", number)
        if separator == ",":
            window.at += 1
    window.at += 1
    if window.peek():
        raise StrictJSONError("there is more behind the end of the array")


def loads(data: bytes) -> Any:
    """One JSON document of at most 4 MiB. Raises StrictJSONError."""
    if len(data) > MAX_ROW_BYTES:
        raise StrictJSONError(_TOO_LARGE)
    chunks = iter((b"[", data, b"]"))
    rows = list(read_rows(lambda _: next(chunks, b"")))
    if len(rows) != 1:
        raise StrictJSONError("it is not one JSON document")
    if rows[0].problem is not None:
        raise rows[0].problem
    return rows[0].value


def dumps(value: Any, end: bytes = b"") -> bytes:
    """The value as one line, keys in alphabetical order, and what ends it. Raises
    StrictJSONError for whatever `read_rows` would refuse."""
    try:
        data = _encode(value).encode() + end
    except (ValueError, TypeError, RecursionError):
        raise find_problem(value) or StrictJSONError("it can not be written as JSON") from None
    if len(data) > MAX_ROW_BYTES:
        raise StrictJSONError(_TOO_LARGE)
    if (
        b"\\u0000" in data
        or data.count(b"[") + data.count(b"{") > MAX_DEPTH
        or len(data) > MAX_VALUES
        or _LONG_NUMBER in data.translate(_DIGITS_TO_0)
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
                problem = _TOO_MANY
            if kind in (dict, list, tuple):
                if depth + len(stack) - 1 > MAX_DEPTH:
                    problem = _TOO_DEEP
                stack.append(iter(item.values() if kind is dict else item))
            if problem is not None:
                return problem, count
            if kind in (dict, list, tuple):
                break
        else:
            stack.pop()
    return None, count


def _problem_of_key(key: Any) -> str | None:
    return _problem_of(key) if type(key) is str else "a key is no text"


def _problem_of(item: Any) -> str | None:
    kind = type(item)
    if kind is str:
        return _BAD_TEXT if _BAD_CHARACTER.search(item) else None
    if kind is int:
        return None if item in INTEGERS else _BIG_INTEGER
    if kind is float:
        return None if math.isfinite(item) else _NOT_FINITE
    if item is None or kind in (bool, dict, list, tuple):
        return None
    return f"a value of the type {kind.__name__} has no form in JSON"


def _may_be_deep(text: str, start: int, end: int) -> bool:
    return text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH


def _read_row(window: _Window, scanner: _Scanner, number: int) -> Row:
    window.peek()
    while True:
        text, start = window.text, window.at
        # A text costs memory in proportion to its values and stack to its depth.
        large = len(text) - start > MAX_VALUES or window.brackets > _MAX_BRACKETS_UNMEASURED
        ended = large and _measure(text, start) is not None
        if ended or not large or window.at_end:
            try:
                value, end = scanner.scan(text, start)
            except json.JSONDecodeError as error:
                if ended or window.at_end:
                    raise StrictJSONError(f"it is not JSON: {error.msg}") from None
            else:
                # At the edge of the window a number may go on, as `1` does in `1.` and `1.5`.
                if window.at_end or (end < len(text) and text[end] not in ".eE"):
                    break
        if window.tail_bytes() > MAX_ROW_BYTES:
            raise StrictJSONError(_TOO_LARGE)
        window.grow()
    window.at = end
    problem = scanner.problem
    if problem is None and (
        text.find("\\u", start, end) >= 0
        or end - start > MAX_VALUES
        or _may_be_deep(text, start, end)
    ):
        problem = find_problem(value)
    body = text[start:end].encode()
    if len(body) > MAX_ROW_BYTES:
        problem = StrictJSONError(_TOO_LARGE)
    return Row(number, value, body, problem)


def _measure(text: str, start: int) -> int | None:
    """Where the object or array at `start` ends, None where the text ends before.

    Raises StrictJSONError for more depth or values than a row may have. It finds the end by
    strings and brackets alone, and is right about every text that the scanner accepts.
    """
    at, depth, count = start, 0, 1
    while token := _TOKEN.search(text, at):
        found = token.start()
        count += text.count(",", at, found) + text.count(":", at, found)
        at = found + 1
        if text[found] == '"':
            closing = _closing_quote(text, at)
            if closing is None:
                return None
            at = closing + 1
        elif text[found] in "[{":
            depth += 1
            inside = _SPACE.match(text, at)
            # The first thing in it, of which no comma tells.
            count += text[inside.end() : inside.end() + 1] not in ("", "]", "}") if inside else 0
        else:
            depth -= 1
        if depth > MAX_DEPTH:
            raise StrictJSONError(_TOO_DEEP)
        if count > MAX_VALUES:
            raise StrictJSONError(_TOO_MANY)
        if depth <= 0 and text[found] != '"':
            return at
    return None


def _closing_quote(text: str, start: int) -> int | None:
    at = start
    while (part := _STRING_PART.match(text, at)) and part.end() > at:
        at = part.end()
        if part[1]:
            return at - 1
    return None


class _Window:
    """The part of the text that is being looked at."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self.text = ""
        self.at = 0
        self.at_end = False
        #: How many brackets are opened in it, at most.
        self.brackets = 0

    def grow(self) -> None:
        """Drop what was passed, and look twice as far ahead, so that a long row is looked at
        a few times only. Raises StrictJSONError where the bytes are not UTF-8."""
        tail = len(self.text) - self.at
        data = self._read(min(max(tail, _LOOK_AHEAD), _MAX_LOOK_AHEAD))
        self.at_end = not data
        try:
            more = self._decode(data, self.at_end)
        except UnicodeDecodeError:
            raise StrictJSONError(_NOT_UTF8) from None
        self.text = self.text[self.at :] + more
        self.at = 0
        self.brackets = self.text.count("[") + self.text.count("{")

    def peek(self) -> str:
        """Go to the next character that is not white space, and give it; empty at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self.at_end:
                return ""
            self.grow()

    def tail_bytes(self) -> int:
        tail = len(self.text) - self.at
        if tail > MAX_ROW_BYTES or self.text.isascii():
            return tail
        return len(self.text[self.at :].encode())


class _Scanner:
    """The C scanner, with hooks that note what it would let pass."""

    def __init__(self) -> None:
        self.problem: StrictJSONError | None = None
        self._raw_decode = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._integer,
            parse_float=self._float,
            parse_constant=self._constant,
        ).raw_decode

    def scan(self, text: str, start: int) -> tuple[Any, int]:
        """The value at `start`, and where it ends. Raises json.JSONDecodeError, and
        StrictJSONError where it is too deep for the stack."""
        self.problem = None
        try:
            return self._raw_decode(text, start)
        except RecursionError:
            raise StrictJSONError(_TOO_DEEP) from None

    def _note(self, message: str) -> None:
        self.problem = self.problem or StrictJSONError(message)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            self._note("an object has one key twice")
        return found

    def _integer(self, digits: str) -> int:
        if len(digits.lstrip("-")) <= MAX_DIGITS:
            return int(digits)
        self._note(_BIG_INTEGER)
        return 0

    def _float(self, digits: str) -> float:
        if len(digits) > MAX_DIGITS:
            self._note(f"a number has more than {MAX_DIGITS} digits")
            return 0.0
        number = float(digits)
        if not math.isfinite(number):
            self._note(_NOT_FINITE)
        return number

    def _constant(self, name: str) -> None:
        self._note(f"{name} is no number of JSON")
