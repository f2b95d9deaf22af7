"""Erlang terms as text, as a package file's metadata.config has them (Erlang's `file:consult`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: How deep lists and tuples may lie in each other; Hex's metadata needs five.
_DEEPEST = 32
_BINARY = r'<<(?:"(?P<text>(?:[^"\\]|\\.)*)"(?:/utf8)?)?>>'
_TOKEN = re.compile(
    rf"(?P<binary>{_BINARY})|(?P<atom>true|false|nil|undefined)\b|(?P<number>-?[0-9]+)"
    r"|(?P<mark>[{}\[\],.])",
    re.DOTALL,
)
_SPACE = re.compile(r"(?:\s|%[^\n]*)*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "s": " ", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ATOMS = {"true": True, "false": False, "nil": None, "undefined": None}


def write(value: object) -> str:
    """A text as a binary, a boolean as an atom, a list as one, a mapping as a property list.

    Raises TypeError for anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'<<"{escaped}">>' if escaped.isascii() else f'<<"{escaped}"/utf8>>'
    if isinstance(value, Mapping):
        pairs = (f"{{{write(key)},{write(item)}}}" for key, item in value.items())
        return f"[{','.join(pairs)}]"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(write, value))}]"
    raise TypeError(f"a package's metadata can not hold a {type(value).__name__}")


def read(text: str) -> dict[str, Any]:
    """The pairs `{Key, Value}.` of a text: binaries as texts, property lists as dicts.

    Raises ValueError where it is anything else.
    """
    reader = _Reader(text)
    pairs = []
    while not reader.is_at_end():
        pairs.append(reader.term(0))
        reader.expect(".")
    found = _as_properties(pairs)
    if not isinstance(found, dict):
        if pairs:
            raise ValueError("not every term is a pair of a key and a value")
        return {}
    return found


class _Reader:
    """Reads one term after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._skip()

    def is_at_end(self) -> bool:
        return self._at == len(self._text)

    def expect(self, mark: str) -> None:
        if self._next()["mark"] != mark:
            raise ValueError(f"{mark!r} is missing before character {self._at}")

    def term(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"terms are more than {_DEEPEST} deep")
        token = self._next()
        if token["binary"]:
            return _ESCAPE.sub(_unescaped, token["text"] or "")
        if token["atom"]:
            return _ATOMS[token["atom"]]
        if token["number"]:
            return int(token["number"])
        if token["mark"] == "[":
            return _as_properties(self._items("]", depth))
        if token["mark"] == "{":
            return tuple(self._items("}", depth))
        raise ValueError(f"a term is missing before character {self._at}")

    def _items(self, end: str, depth: int) -> list[Any]:
        items: list[Any] = []
        if self._text[self._at : self._at + 1] == end:
            self.expect(end)
            return items
        while True:
            items.append(self.term(depth + 1))
            mark = self._next()["mark"]
            if mark == end:
                return items
            if mark != ",":
                raise ValueError(f"',' or {end!r} is missing before character {self._at}")

    def _next(self) -> re.Match[str]:
        token = _TOKEN.match(self._text, self._at)
        if token is None:
            raise ValueError(f"no term that metadata may hold at character {self._at}")
        self._at = token.end()
        self._skip()
        return token

    def _skip(self) -> None:
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()


def _as_properties(items: list[Any]) -> list[Any] | dict[str, Any]:
    """A list of pairs with texts for keys as a dict, any other as it is."""
    if items and all(
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in items
    ):
        return dict(items)
    return items


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] == "x" and len(code) > 1:
        number = int(code[1:].strip("{}"), 16)
    elif code[0] in "01234567":
        number = int(code, 8)
    else:
        return _ESCAPES.get(code, code)
    if number > 0x10FFFF:
        raise ValueError(f"there is no character {code}")
    return chr(number)
