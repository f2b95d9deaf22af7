"""A column's Python value to its JSON value and back, chosen by the column's type."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from hexhub_backup.archive.times import format_time, parse_time, parse_times

#: What a column's values are in JSON; None where the host's own pair decides.
JsonType = Literal["text", "boolean", "integer", "number", "json", "time", "bytes"]
Convert = Callable[[Any], Any]

PAIR = "give the field a pair, Field(column, encode=…, decode=…)"


class CodecError(ValueError):
    """A value that has no counterpart; the message does not hold the value itself."""


@dataclass(frozen=True)
class Codec:
    """Two functions for values that are not null. Both raise CodecError and nothing else.

    A value of the type `same_in_json` is its own encoding, and what that decodes to: it needs no
    call.
    """

    json: JsonType | None
    encode: Convert
    decode: Convert
    same_in_json: type | None = None
    #: Decodes many texts at a time, or gives None where it can't.
    decode_texts: Callable[[list[Any]], list[Any] | None] | None = None

    def decode_all(self, values: list[Any]) -> list[Any]:
        """Each of the values decoded; the list itself where they are that already."""
        types = set(map(type, values))
        if types <= {self.same_in_json}:
            return values
        many = self.decode_texts(values) if self.decode_texts and types == {str} else None
        return list(map(self.decode, values)) if many is None else many

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values of one column are the same record value: times as instants,
        JSON by value (`1` is not `true`)."""
        if one is None or other is None:
            return one is other
        if type(one) is type(other) and type(one) in _PLAIN:
            return bool(one == other)
        try:
            return _canonical(self.encode(one)) == _canonical(self.encode(other))
        except CodecError:
            return False


_PLAIN = {
    *(str, int, bool, float, bytes, decimal.Decimal, uuid.UUID),
    *(dt.datetime, dt.date, dt.time),
}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def codec_of(type_: TypeEngine[Any], timezone: dt.tzinfo) -> Codec | None:
    """The codec for a column of `type_`, or None where there is no rule for it.

    A naive datetime means `timezone`.
    """
    if isinstance(type_, sa.PickleType):
        # Unpickling what came in an archive would run its code.
        return None
    if isinstance(type_, sa.JSON):
        return Codec("json", _encode_json, _decode_json)
    python = _python_type(type_)
    if isinstance(type_, sa.Enum) or issubclass(python, enum.Enum):
        return _enum_codec(type_, python)
    if issubclass(python, dt.datetime):
        return _datetime_codec(type_, timezone)
    if python in (dict, list):
        return Codec("json", _encode_json, _decode_json)
    return _SIMPLE.get(python)


def pair_codec(encode: Convert, decode: Convert) -> Codec:
    """The codec of a host's own pair; whatever it raises becomes a CodecError."""
    return Codec(None, _guarded(encode, "encode="), _guarded(decode, "decode="))


def _guarded(convert: Convert, name: str) -> Convert:
    def guarded(value: Any) -> Any:
        try:
            return convert(value)
        except Exception as error:
            raise CodecError(f"{name} of its pair raised {type(error).__name__}") from None

    return guarded


def _python_type(type_: TypeEngine[Any]) -> type:
    try:
        python = type_.python_type
    except NotImplementedError:
        python = object
    # A decorator promises nothing of its own, but most keep the type of what they decorate;
    # a value of another type is refused when it is met.
    if python is object and isinstance(type_, sa.types.TypeDecorator):
        inner = cast("TypeEngine[Any]", type_.impl)
        return dict if isinstance(inner, sa.JSON) else _python_type(inner)
    return python


# --- the rules ---------------------------------------------------------------------------


def _expect(python: type, value: Any) -> None:
    if type(value) is not python and (
        not isinstance(value, python) or (python is int and isinstance(value, bool))
    ):
        raise CodecError(
            f"is of type {type(value).__name__} where the column's type promises "
            f"{python.__name__}: {PAIR}"
        )


def _plain(kind: JsonType, python: type) -> Codec:
    def check(value: Any) -> Any:
        _expect(python, value)
        return value

    def decode(value: Any) -> Any:
        if type(value) is not python:
            raise CodecError(f"is not {_WORDS[kind]}")
        return value

    return Codec(kind, check, decode, python)


_WORDS = {"text": "a text", "boolean": "true or false", "integer": "an integer"}


def _encode_float(value: Any) -> float:
    _expect(float, value)
    if not math.isfinite(value):
        raise CodecError("is not a finite number, which JSON can not hold: correct the row")
    return float(value)


def _decode_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise CodecError("is not a number")
    try:
        return float(value)
    except OverflowError:
        raise CodecError("is too large a number") from None


def _texted(
    kind: JsonType,
    python: type,
    to_text: Callable[[Any], str],
    from_text: Callable[[str], Any],
    words: str,
) -> Codec:
    def encode(value: Any) -> str:
        if type(value) is not python:
            _expect(python, value)
        return to_text(value)

    def decode(value: Any) -> Any:
        if type(value) is not str:
            raise CodecError(f"is not {words}")
        try:
            return from_text(value)
        except (ValueError, ArithmeticError):
            raise CodecError(f"is not {words}") from None

    return Codec(kind, encode, decode)


def _encode_bytes(value: Any) -> dict[str, str]:
    _expect(bytes, value)
    return {"$bytes": base64.b64encode(value).decode()}


def _decode_bytes(value: Any) -> bytes:
    if type(value) is dict and list(value) == ["$bytes"] and type(value["$bytes"]) is str:
        try:
            return base64.b64decode(value["$bytes"], validate=True)
        except (binascii.Error, ValueError):
            pass
    raise CodecError('is not bytes, {"$bytes": "base64"}')


_TEXT = frozenset((str,))
_SCALARS = frozenset((str, int, float, bool, type(None)))


def _encode_json(value: Any) -> Any:
    # A host can set a deserializer of its own, which may give what JSON does not know.
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if not _TEXT.issuperset(map(type, part)):
                raise CodecError(f"holds a key that is not a text: {PAIR}")
            if not _SCALARS.issuperset(map(type, part.values())):
                todo += part.values()
        elif isinstance(part, list):
            if not _SCALARS.issuperset(map(type, part)):
                todo += part
        elif type(part) not in _SCALARS:
            raise CodecError(f"holds a {type(part).__name__}, which is not JSON: {PAIR}")
    return value


def _decode_json(value: Any) -> Any:
    return value


def _enum_codec(type_: TypeEngine[Any], python: type) -> Codec | None:
    if issubclass(python, enum.Enum):
        members = python

        def encode(value: Any) -> str:
            _expect(members, value)
            return str(value.name)

        def decode(value: Any) -> enum.Enum:
            if type(value) is not str or value not in members.__members__:
                raise CodecError(f"is none of {_some(members.__members__)}")
            return members[value]

        return Codec("text", encode, decode)

    texts = frozenset(type_.enums) if isinstance(type_, sa.Enum) else frozenset()

    def check(value: Any) -> str:
        if type(value) is not str or value not in texts:
            raise CodecError(f"is none of {_some(sorted(texts))}")
        return value

    return Codec("text", check, check)


def _some(names: Any) -> str:
    first = list(names)[:10]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")


def _datetime_codec(type_: TypeEngine[Any], timezone: dt.tzinfo) -> Codec:
    # SQLite drops the offset of an aware value, so that it has to be in `timezone` already.
    inner = type_.impl if isinstance(type_, sa.types.TypeDecorator) else type_
    aware = bool(getattr(inner, "timezone", False))

    def to_text(value: dt.datetime) -> str:
        if value.tzinfo is None and timezone is dt.timezone.utc:
            return value.isoformat("T", "microseconds") + "Z"
        moment = value.replace(tzinfo=timezone) if value.tzinfo is None else value
        try:
            return format_time(moment)
        except OverflowError:
            raise CodecError("is a time outside the years 1 to 9999 in UTC") from None

    def from_text(text: str) -> dt.datetime:
        moment = parse_time(text)
        if timezone is not dt.timezone.utc or moment.tzinfo is not timezone:
            moment = moment.astimezone(timezone)
        return moment if aware else moment.replace(tzinfo=None)

    codec = _texted("time", dt.datetime, to_text, from_text, "a time in ISO 8601")
    is_naive_utc = timezone is dt.timezone.utc and not aware
    return replace(codec, decode_texts=parse_times) if is_naive_utc else codec


def _decimal(text: str) -> decimal.Decimal:
    number = decimal.Decimal(text)
    if number.is_finite() and abs(number.adjusted()) > 400:
        raise ValueError
    return number


_SIMPLE: dict[type, Codec] = {
    str: _plain("text", str),
    bool: _plain("boolean", bool),
    int: _plain("integer", int),
    float: Codec("number", _encode_float, _decode_float),
    bytes: Codec("bytes", _encode_bytes, _decode_bytes),
    decimal.Decimal: _texted("text", decimal.Decimal, str, _decimal, "a decimal number"),
    uuid.UUID: _texted("text", uuid.UUID, str, uuid.UUID, "a UUID"),
    dt.date: _texted("text", dt.date, dt.date.isoformat, dt.date.fromisoformat, "a date"),
    dt.time: _texted("text", dt.time, dt.time.isoformat, dt.time.fromisoformat, "a time of day"),
}
