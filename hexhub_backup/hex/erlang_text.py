"""Erlang terms as text, as a package file's metadata.config has them (Erlang's `file:consult`).

There is one of each release that is backed up, so it has to be quick. What is between the texts is
alike in many of them, and read once: JSON is made of it, in which a tuple is an object with one
field and a text the number that it has among the texts, and of that functions that make the values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from operator import add, itemgetter
from typing import Any, NamedTuple

from hexhub_backup.marking import marked

#: Characters between the texts: what is longer is hardly met twice.
_LONGEST = 4096
#: So many of these are remembered.
_CACHED = 128
#: How deep lists and tuples may lie in each other; Hex's metadata needs five.
_DEEPEST = 32
# What may hold a text or brackets. It matches to the end where it is not closed, so that nothing is
# looked at twice.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
_LITERAL = re.compile(
    rf"""(<<(?:[^">]+|{_STRING})*(?:>>)?|{_STRING}|'[^'\\]*(?:\\.[^'\\]*)*'?)|%[^\n]*""", re.DOTALL
)
# Between the texts: where one of them is, or an atom.
_TOKEN = re.compile(r'"|[a-z][A-Za-z0-9_@]*')
_ATOMS = {"true": "true", "false": "false", "nil": "null", "undefined": "null"}
# What JSON may take for something that Erlang has.
_NOT_BETWEEN = re.compile(r"[^\s\w@{}\[\],.\"-]")
_SEGMENT = re.compile(r'\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"(?:/utf8)?|([0-9]{1,9}))\s*', re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "s": " ", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_NO_TERMS = marked("they are no Erlang terms")


def _refuse(_constant: str) -> Any:
    """NaN and the like are variables of Erlang."""
    raise ValueError(_NO_TERMS)


_decode = json.JSONDecoder(strict=False, parse_constant=_refuse).decode


#: Makes a value of the texts that are in it.
_Made = Callable[[Sequence[str]], Any]


class Pairs(NamedTuple):
    """The pairs `{Key, Value}.` of a text: binaries, strings and atoms are texts in there, property
    lists dicts."""

    keys: Sequence[str]
    values: Sequence[_Made]
    texts: Sequence[str]

    def get(self, key: str) -> Any:
        """The value of a key; None where it is not there."""
        try:
            value = self.values[self.keys.index(key)]
        except ValueError:
            return None
        return value(self.texts)

    def as_dict(self) -> dict[str, Any]:
        return {key: self.get(key) for key in self.keys}


def read(text: str) -> Pairs:
    """Raises ValueError where it is anything else than such pairs."""
    # Nearly none has what makes a text look like something else.
    if not ("\\" in text or "'" in text or "%" in text or "\0" in text):
        parts = text.split('"')
        between = '"'.join(parts[::2])
        # What hardly anybody else has is not kept.
        read_it = _plain_structure if len(between) <= _LONGEST else _read_plain_structure
        if len(parts) % 2 and (found := read_it(between)):
            return _pairs(found, parts[1::2])
    between, texts = _taken_apart(text)
    return _pairs((_structure if len(between) <= _LONGEST else _read_structure)(between), texts)


def _pairs(structure: _Structure, texts: Sequence[str]) -> Pairs:
    keys, values = structure
    return Pairs(keys(texts), values, texts)


def _taken_apart(text: str) -> tuple[str, list[str]]:
    """What is between the texts, with a `"` in the place of each, and the texts."""
    # Behind what is between comes a literal, or a comment, which is None.
    parts = _LITERAL.split(text)
    parts[1::2] = [each and _text(each) for each in parts[1::2]]
    literals = ["" if each is None else '"' for each in parts[1::2]]
    between = "".join(map(add, parts[::2], [*literals, ""]))
    return between, [each for each in parts[1::2] if each is not None]


def _text(literal: str) -> str:
    if literal.startswith("<<"):
        if not literal.endswith(">>") or len(literal) < 4:
            raise ValueError(_NO_TERMS)
        return _binary(literal[2:-2])
    if len(literal) < 2 or literal[-1] != literal[0]:
        raise ValueError(_NO_TERMS)
    return _ESCAPE.sub(_unescaped, literal[1:-1])


def _binary(inside: str) -> str:
    """Bytes are how Erlang writes a text that is not all of Latin-1."""
    try:
        return bytes(map(int, inside.split(","))).decode(errors="replace")
    except ValueError:
        return "".join(_segments(inside))


def _segments(inside: str) -> Iterator[str]:
    at, is_text = 0, True
    inside = inside.strip()
    while at < len(inside):
        segment = _SEGMENT.match(inside, at)
        if segment is None:
            raise ValueError(_NO_TERMS)
        text, number = segment.groups()
        yield chr(int(number) & 0xFF) if text is None else _ESCAPE.sub(_unescaped, text)
        at, is_text = segment.end(), text is not None
        if inside[at : at + 1] == ",":
            at += 1
        # Long texts are in several pieces.
        elif at < len(inside) and not (is_text and inside[at] == '"'):
            raise ValueError(_NO_TERMS)


#: What makes the keys, and what makes each of the values.
_Structure = tuple[_Made, list[_Made]]


def _read_structure(between: str) -> _Structure:
    """The structure of what is between texts, with a `"` in the place of each."""
    if _NOT_BETWEEN.search(between):
        raise ValueError(_NO_TERMS)
    numbers = count()

    def as_json(token: re.Match[str]) -> str:
        if token[0] == '"':
            return f'"{next(numbers)}"'
        return _ATOMS.get(token[0]) or f'"{token[0]}"'

    text = _TOKEN.sub(as_json, between)
    text = text.replace("{", '{"":[').replace("}", "]}").replace(".", "],[")
    try:
        # Each term is a list of its own, and behind the last full stop is nothing.
        *terms, rest = _decode(f"[[{text}]]")
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(_NO_TERMS) from error
    if rest or any(len(each) != 1 for each in terms):
        raise ValueError(_NO_TERMS)
    if not all(_is_pair(term) for (term,) in terms):
        raise ValueError(marked("not every term is a pair of a key and a value"))
    pairs = [term[""] for (term,) in terms]
    return _made_keys([key for key, _ in pairs]), [_made(value, 0) for _, value in pairs]


def _read_plain_structure(between: str) -> _Structure | None:
    """The same, with what is around a text still there; None where that is anything but the usual
    `<<` and `>>`."""
    plain = between.replace('<<"/utf8>>', '"').replace('<<">>', '"')
    return None if "<" in plain else _read_structure(plain)


_structure = lru_cache(_CACHED)(_read_structure)
_plain_structure = lru_cache(_CACHED)(_read_plain_structure)


def _is_pair(term: Any) -> bool:
    """Whether a term is a tuple of a text and something else."""
    return isinstance(term, dict) and len(term[""]) == 2 and isinstance(term[""][0], str)


def _made_keys(terms: list[str]) -> _Made:
    """What makes the keys that were made JSON. Nearly all of them are texts, and no atoms."""
    if len(terms) > 1 and all(map(str.isdigit, terms)):
        return itemgetter(*map(int, terms))
    keys = [_made(term, 0) for term in terms]
    return lambda texts: [key(texts) for key in keys]


def _made(term: Any, depth: int) -> _Made:
    """What makes a term that was made JSON."""
    if isinstance(term, str) and term.isdigit():
        return itemgetter(int(term))
    if not isinstance(term, (list, dict)):
        return lambda _: term
    if depth > _DEEPEST:
        raise ValueError(marked(f"terms are more than {_DEEPEST} deep"))
    if isinstance(term, list) and term and all(map(_is_pair, term)):
        pairs = [[_made(item, depth + 2) for item in pair[""]] for pair in term]
        return lambda texts: {key(texts): value(texts) for key, value in pairs}
    items = [_made(item, depth + 1) for item in (term[""] if isinstance(term, dict) else term)]
    kind = tuple if isinstance(term, dict) else list
    return lambda texts: kind([item(texts) for item in items])


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] == "x" and len(code) > 1:
        number = int(code[1:].strip("{}"), 16)
    elif code[0] in "01234567":
        number = int(code, 8)
    else:
        return _ESCAPES.get(code, code)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise ValueError(marked(f"there is no character {code}"))
    return chr(number)
