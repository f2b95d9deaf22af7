"""Erlang terms as bytes, as the API speaks them (Erlang's external term format).

Of the format only what Hex's clients send and read: true, false, nil, integers, texts, lists and
maps with texts as keys. Floats and integers of 2040 bits and more are written, as a restored row
may hold them, and not read. Atoms other than the three are refused, and compressed terms too: some
kilobytes of one can become a hundred megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

_VERSION = 131
_SMALL_INTEGER, _INTEGER, _SMALL_BIG, _LARGE_BIG, _FLOAT = 97, 98, 110, 111, 70
_NIL, _STRING, _LIST, _BINARY, _MAP = 106, 107, 108, 109, 116
#: The tags of atoms, old and new, with the form of the length that comes first.
_ATOM_LENGTHS = {100: ">H", 115: ">B", 118: ">H", 119: ">B"}
_ATOMS = {b"true": True, b"false": False, b"nil": None}
_NEW_ATOM = 119
#: How deep lists and maps may lie in each other.
_DEEPEST = 32


class TermError(ValueError):
    """Why bytes are no such term, as a sentence without its full stop."""


def encode(value: object) -> bytes:
    """A term of None, booleans, numbers, texts, lists and mappings of those.

    Raises TypeError for anything else.
    """
    return bytes([_VERSION]) + _encode(value)


def _encode(value: object) -> bytes:
    if value is None or isinstance(value, bool):
        atom = "nil" if value is None else str(value).lower()
        return struct.pack(">BB", _NEW_ATOM, len(atom)) + atom.encode()
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BI", _BINARY, len(text)) + text
    if isinstance(value, Mapping):
        pairs = (_encode(key) + _encode(item) for key, item in value.items())
        return struct.pack(">BI", _MAP, len(value)) + b"".join(pairs)
    if isinstance(value, (list, tuple)):
        if not value:
            return bytes([_NIL])
        items = b"".join(map(_encode, value))
        return struct.pack(">BI", _LIST, len(value)) + items + bytes([_NIL])
    raise TypeError(f"a term can not hold a {type(value).__name__}")


def _number(value: float) -> bytes:
    if isinstance(value, float):
        return struct.pack(">Bd", _FLOAT, value)
    if 0 <= value < 1 << 8:
        return bytes([_SMALL_INTEGER, value])
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">Bi", _INTEGER, value)
    size = (abs(value).bit_length() + 7) // 8
    tag, form = (_SMALL_BIG, ">BBB") if size < 1 << 8 else (_LARGE_BIG, ">BIB")
    return struct.pack(form, tag, size, value < 0) + abs(value).to_bytes(size, "little")


def decode(data: bytes) -> Any:
    """What a term says: atoms become None and booleans, binaries texts, maps dicts.

    Raises TermError.
    """
    reader = _Reader(data)
    try:
        if reader.byte() != _VERSION:
            raise TermError("It does not begin as a term does")
        value = reader.value(_DEEPEST)
    except (IndexError, struct.error) as error:
        raise TermError("It ends too early") from error
    except UnicodeDecodeError as error:
        raise TermError("A text in it is not UTF-8") from error
    if reader.at != len(data):
        raise TermError("There is something behind it")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        self._plain: dict[int, Callable[[], Any]] = {
            _SMALL_INTEGER: self.byte,
            _INTEGER: lambda: self._number(">i"),
            _SMALL_BIG: self._big,
            _BINARY: lambda: self._bytes(self._number(">I")).decode(),
            _NIL: list,
            # Small numbers of a list are said as text.
            _STRING: lambda: list(self._bytes(self._number(">H"))),
        }

    def byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def value(self, depth: int) -> Any:
        tag = self.byte()
        if not depth:
            raise TermError(f"It is deeper than {_DEEPEST}")
        if tag in self._plain:
            return self._plain[tag]()
        if tag in _ATOM_LENGTHS:
            return self._atom(_ATOM_LENGTHS[tag])
        if tag == _LIST:
            return self._list(depth - 1)
        if tag == _MAP:
            return dict(self._pair(depth - 1) for _ in range(self._count()))
        raise TermError(f"It has a value of a kind that is not taken, {tag}")

    def _big(self) -> int:
        size, negative = self.byte(), self.byte()
        number = int.from_bytes(self._bytes(size), "little")
        return -number if negative else number

    def _atom(self, length: str) -> bool | None:
        name = self._bytes(self._number(length))
        if name not in _ATOMS:
            raise TermError("It has an atom other than true, false and nil")
        return _ATOMS[name]

    def _list(self, depth: int) -> list[Any]:
        items = [self.value(depth) for _ in range(self._count())]
        if self.byte() != _NIL:
            raise TermError("A list in it has no end")
        return items

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self.value(depth)
        if not isinstance(key, str):
            raise TermError("A key in it is no text")
        return key, self.value(depth)

    def _count(self) -> int:
        """How many values follow, each of which has a byte at least."""
        count = self._number(">I")
        if count > len(self._data) - self.at:
            raise IndexError
        return count

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._data, self.at)
        self.at += struct.calcsize(form)
        return int(number)

    def _bytes(self, size: int) -> bytes:
        found = self._data[self.at : self.at + size]
        if len(found) < size:
            raise IndexError
        self.at += size
        return found
