"""Strict JSON read: arrays of rows as streams, and one small document.

The parser is the standard library's C scanner over a growing window of strictly decoded text,
and not ijson: ijson's yajl silently turns lone surrogates into `?` and does not notice a key that
is there twice. What the scanner lets pass (NaN, integers of any length, any depth) is refused
here. A window is measured before it is parsed where it could cost more memory or stack than a
row may, so that a hostile member costs a bounded amount of both (CVE-2020-10735 for digits).

To look at each object and integer takes several times as long as the scanner itself. Of nearly all
rows a few steps show for many at once that there is nothing to be found; what these don't show is
read row by row.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from typing import Any, NamedTuple

from hexhub_backup.archive.rules.strict_json import (
    BIG_INTEGER,
    DIGITS_TO_0,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ROW_BYTES,
    MAX_VALUES,
    NOT_FINITE,
    TOO_DEEP,
    TOO_LARGE,
    TOO_MANY,
    StrictJSONError,
    find_problem,
)
from hexhub_backup.marking import marked

_LOOK_AHEAD = 64 * 1024
_MAX_LOOK_AHEAD = 1024 * 1024
# The scanner recurses once per bracket: so many levels fit on any thread's stack.
_MAX_BRACKETS_UNMEASURED = 4000
_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'["\[\]{}]')
# In parts, because the matcher remembers each turn of a repeated group.
_STRING_PART = re.compile(r'[^"\\]*(?:\\.[^"\\]*){0,1000}("?)', re.DOTALL)
# Of a number that is too long: beside its digits there are three other characters at most.
_MANY_DIGITS = b"0" * (MAX_DIGITS // 4)

# So many rows are taken at a time: more would bring on collections of garbage.
_MANY = 50

_NOT_UTF8 = "it is not UTF-8"


class Row(NamedTuple):
    """One value of an array.

    `body` is its text as it stands there; `problem` is why it is refused, if it is.
    """

    number: int
    value: Any
    body: str
    problem: StrictJSONError | None


class Rows(NamedTuple):
    """Several rows that have no problem, and are objects of the same fields, by columns; the first
    has this number."""

    number: int
    columns: dict[str, tuple[Any, ...]]
    bodies: list[str]

    def singly(self) -> Iterator[Row]:
        values = zip(*self.columns.values(), strict=True)
        for number, row, body in zip(count(self.number), values, self.bodies, strict=False):
            yield Row(number, dict(zip(self.columns, row, strict=True)), body, None)


def read_rows(read: Callable[[int], bytes]) -> Iterator[Row]:
    """The rows of a JSON array; `read(n)` returns its next bytes, up to `n`.

    Raises StrictJSONError where the end of a row is not to be found, behind which nothing can
    be read; a row that only breaks a rule has a `problem`.
    """
    for rows in read_batches(read):
        yield from (rows,) if isinstance(rows, Row) else rows.singly()


def read_batches(read: Callable[[int], bytes]) -> Iterator[Row | Rows]:
    """The rows as `read_rows`, several at a time where they are alike and nothing is wrong."""
    window = _Window(read)
    quick, exact = _Scanner(plain=True), _Scanner()
    first = window.peek()
    if first == "\ufeff":
        raise StrictJSONError("it begins with a byte order mark; save it without")
    if first != "[":
        raise StrictJSONError("it is not an array" if first else "it is empty")
    window.at += 1
    number = singly = 0
    separator = "" if window.peek() != "]" else "]"
    while separator != "]":
        number += 1
        try:
            window.peek()
            rows = singly or _read_plain(window, quick, number)
            if isinstance(rows, Rows):
                yield rows
                number += len(rows.bodies) - 1
            else:
                singly = rows - 1
                yield _read_row(window, exact, number)
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
        raise StrictJSONError(TOO_LARGE)
    chunks = iter((b"[", data, b"]"))
    rows = list(read_rows(lambda _: next(chunks, b"")))
    if len(rows) != 1:
        raise StrictJSONError("it is not one JSON document")
    if rows[0].problem is not None:
        raise rows[0].problem
    return rows[0].value


def _read_plain(window: _Window, scanner: _Scanner, number: int) -> Rows | int:
    """The next rows in the window that have the same fields, as many as are there whole; how many
    have to be read singly where one of them may break a rule."""
    text, at = window.text, window.at
    if not window.is_plain:
        return 1
    values: list[dict[str, Any]] = []
    bodies: list[str] = []
    names: tuple[str, ...] = ()
    start = end = at
    scanner.problem = None
    # What goes on behind the window, and what is no JSON, is left to `_read_row`.
    with suppress(ValueError, RecursionError):
        while len(values) < _MANY and text.startswith("{", at):
            value, stop = scanner.decode(text, at)
            if tuple(value) != names:
                if values:
                    break
                names = tuple(value)
            end = stop
            values.append(value)
            bodies.append(text[at:end])
            if text.startswith(",\n{", end):
                at = end + 2
            elif text.startswith(",", end) and (match := _SPACE.match(text, end + 1)):
                at = match.end()
            else:
                break
    columns = dict(zip(names, zip(*map(dict.values, values), strict=True), strict=True))
    if (
        not columns
        or scanner.problem is not None
        or not _has_no_key_twice(text[start:end], columns)
    ):
        return len(values) or 1
    window.at = end
    return Rows(number, columns, bodies)


def _has_no_key_twice(text: str, columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether it is certain that no object in the text of some rows has a key twice, of which only
    the last is in the values; and that none of these is too deep."""
    count = sum(map(len, columns.values()))
    level: list[Any] = []
    for column in columns.values():
        if not {dict, list}.isdisjoint(map(type, column)):
            level += column
    for _ in range(MAX_DEPTH // 2):
        objects = [value for value in level if type(value) is dict]
        arrays = [value for value in level if type(value) is list]
        if not objects and not arrays:
            # Without blanks each key brings one of these, and what else brings some is a text.
            return text.encode().translate(None, b" \t\n\r").count(b'":') == count
        count += sum(map(len, objects))
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(arrays)]
    return False


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
            raise StrictJSONError(TOO_LARGE)
        window.grow()
    window.at = end
    problem = scanner.problem
    if problem is None and (
        text.find("\\u", start, end) >= 0
        or end - start > MAX_VALUES
        or _may_be_deep(text, start, end)
    ):
        problem = find_problem(value)
    body = text[start:end]
    if len(body) > MAX_ROW_BYTES or (not body.isascii() and len(body.encode()) > MAX_ROW_BYTES):
        problem = StrictJSONError(TOO_LARGE)
    return Row(number, value, body, problem)


def _measure(text: str, start: int) -> int | None:
    """Where the object or array at `start` ends, None where the text ends before.

    Raises StrictJSONError for more depth or values than a row may have. It finds the end by
    strings and brackets alone, and is right about every text that the scanner accepts.
    """
    at, depth, count = start, 0, 1
    while token := _TOKEN.search(text, at):
        position = token.start()
        count += text.count(",", at, position) + text.count(":", at, position)
        at = position + 1
        if text[position] == '"':
            closing = _closing_quote(text, at)
            if closing is None:
                return None
            at = closing + 1
        elif text[position] in "[{":
            depth += 1
            inside = _SPACE.match(text, at)
            # Its first value, which no comma precedes.
            count += text[inside.end() : inside.end() + 1] not in ("", "]", "}") if inside else 0
        else:
            depth -= 1
        if depth > MAX_DEPTH:
            raise StrictJSONError(TOO_DEEP)
        if count > MAX_VALUES:
            raise StrictJSONError(TOO_MANY)
        if depth <= 0 and text[position] != '"':
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
        #: Whether it holds neither a long number nor an escaped code point, nor much of anything.
        self.is_plain = False

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
        self.is_plain = (
            len(self.text) <= MAX_VALUES
            and self.brackets <= _MAX_BRACKETS_UNMEASURED
            and not ("\\" in self.text and "\\u" in self.text)
            and _MANY_DIGITS not in self.text.encode().translate(DIGITS_TO_0)
        )

    def peek(self) -> str:
        """Go to the next character that is not white space, and return it; empty at the end."""
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
    """The C scanner, with hooks that note what it would let pass; for plain text but for keys that
    are there twice."""

    def __init__(self, *, plain: bool = False) -> None:
        self.problem: StrictJSONError | None = None
        self.decode = json.JSONDecoder(
            object_pairs_hook=None if plain else self._object,
            parse_int=None if plain else self._integer,
            parse_float=self._float,
            parse_constant=self._constant,
        ).raw_decode

    def scan(self, text: str, start: int) -> tuple[Any, int]:
        """The value at `start`, and where it ends. Raises json.JSONDecodeError, and
        StrictJSONError where it is too deep for the stack."""
        self.problem = None
        try:
            return self.decode(text, start)
        except RecursionError:
            raise StrictJSONError(TOO_DEEP) from None

    def _note(self, message: str) -> None:
        self.problem = self.problem or StrictJSONError(message)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self._note(marked("an object has one key twice"))
        return value

    def _integer(self, digits: str) -> int:
        if len(digits.lstrip("-")) <= MAX_DIGITS:
            return int(digits)
        self._note(BIG_INTEGER)
        return 0

    def _float(self, digits: str) -> float:
        if len(digits) > MAX_DIGITS:
            self._note(marked(f"a number has more than {MAX_DIGITS} digits"))
            return 0.0
        number = float(digits)
        if not math.isfinite(number):
            self._note(NOT_FINITE)
        return number

    def _constant(self, name: str) -> None:
        self._note(marked(f"{name} is no number of JSON"))
