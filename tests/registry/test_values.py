"""Column types to JSON and back, and what a password hash may cost."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hexhub_backup.databases.known import DATABASES
from hexhub_backup.registry.comparing.passwords import scheme
from hexhub_backup.registry.mapping.codecs import Codec, CodecError, codec_of

pytestmark = pytest.mark.sample

UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


class Color(enum.Enum):
    RED = "r"


class Trimmed(sa.types.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True


def codec(type_: Any, timezone: dt.tzinfo = UTC) -> Codec:
    found = codec_of(type_, timezone)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (sa.String(), "é", "é"),
        (Trimmed(), "x", "x"),
        (postgresql.CITEXT(), "X", "X"),
        (sa.Boolean(), True, True),
        (sa.BigInteger(), 1 << 40, 1 << 40),
        (sa.Float(), 0.1, 0.1),
        (sa.JSON(), {"a": [None, 1, 1.5, True, {}]}, {"a": [None, 1, 1.5, True, {}]}),
        (sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), [1], [1]),
        (sa.DateTime(), dt.datetime(2026, 7, 1, 1), "2026-07-01T01:00:00.000000Z"),  # noqa: DTZ001
        (sa.Date(), dt.date(2026, 7, 1), "2026-07-01"),
        (sa.Time(), dt.time(1, 2, 3, 4), "01:02:03.000004"),
        (sa.Numeric(), decimal.Decimal("1.50"), "1.50"),
        (sa.Uuid(), uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (sa.Enum(Color), Color.RED, "RED"),
        (sa.Enum("a", "b"), "a", "a"),
        (sa.LargeBinary(), b"\x00", {"$bytes": base64.b64encode(b"\x00").decode()}),
    ],
)
def test_a_value_comes_back_as_it_was(type_: Any, value: Any, expected: Any) -> None:
    assert codec(type_).encode(value) == expected
    assert codec(type_).decode(expected) == value
    assert codec(type_).same(value, codec(type_).decode(expected))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (sa.String(), 1),
        (sa.Integer(), True),
        (sa.Boolean(), 1),
        (sa.Float(), float("inf")),
        (sa.JSON(), {1: 2}),
        (sa.JSON(), [decimal.Decimal(1)]),
        (sa.DateTime(), "2026-01-01"),
        (sa.Enum(Color), "RED"),
    ],
)
def test_a_value_of_another_type_is_refused(type_: Any, value: Any) -> None:
    with pytest.raises(CodecError, match=r"Field\(column, encode=…, decode=…\)|correct the row"):
        codec(type_).encode(value)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (sa.Integer(), 1.0),
        (sa.Float(), 10**400),
        (sa.DateTime(), "2026-13-01T00:00:00Z"),
        (sa.DateTime(), "9999-12-31T23:59:59-10:00"),
        (sa.Date(), "soon"),
        (sa.Numeric(), "1e999999"),
        (sa.Uuid(), "1"),
        (sa.Enum(Color), "GREEN"),
        (sa.Enum("a"), "b"),
        (sa.LargeBinary(), {"$bytes": "*"}),
        (sa.LargeBinary(), "x"),
    ],
)
def test_a_json_value_that_is_none_is_refused(type_: Any, value: Any) -> None:
    with pytest.raises(CodecError):
        codec(type_).decode(value)


def test_what_a_naive_time_means() -> None:
    naive = dt.datetime(2026, 7, 1, 12)  # noqa: DTZ001
    assert codec(sa.DateTime(), BERLIN).encode(naive) == "2026-07-01T10:00:00.000000Z"
    assert codec(sa.DateTime(), BERLIN).decode("2026-07-01T10:00:00Z") == naive
    # SQLite keeps the digits of an aware value and drops its offset.
    aware = codec(sa.DateTime(timezone=True), BERLIN).decode("2026-07-01T10:00:00.5Z")
    assert aware.replace(tzinfo=None) == naive.replace(microsecond=500_000)
    assert aware.utcoffset() == dt.timedelta(hours=2)


def test_json_is_compared_by_value_and_type() -> None:
    assert codec(sa.JSON()).same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not codec(sa.JSON()).same({"a": 1}, {"a": True})
    assert not codec(sa.JSON()).same(None, {})


def test_a_pickle_is_never_read_from_an_archive() -> None:
    assert codec_of(sa.PickleType(), UTC) is None


def test_what_a_strict_database_can_not_hold() -> None:
    misfit = DATABASES["postgresql"].misfit
    short, small = misfit(sa.String(3)), misfit(sa.SmallInteger())
    assert short is not None
    assert small is not None
    assert short("abc") is None
    assert "4 characters" in str(short("abcd"))
    assert small(-32768) is None
    assert "16 bits" in str(small(32768))
    assert DATABASES["sqlite"].misfit(sa.String(3)) is None


ARGON = "$argon2id$v=19$m={},t={},p={}$c2FsdHNhbHQ$aGFzaGhhc2g"


@pytest.mark.parametrize(
    ("password_hash", "expected"),
    [
        (None, "known"),
        ("", "known"),
        ("scrypt:32768:8:1$salt$00ff", "known"),
        ("scrypt$salt$00ff", "known"),
        ("pbkdf2:sha256:600000$salt$00ff", "known"),
        ("$2b$12$" + "a" * 53, "known"),
        (ARGON.format(65536, 3, 4), "known"),
        ("md5$salt$00", "unknown"),
        ("plain", "unknown"),
        ("{SSHA}xyz", "unknown"),
        ("scrypt:1048576:15:1$salt$00", "out of bounds"),
        ("scrypt:32768:8:1024$salt$00", "out of bounds"),
        ("scrypt:32767:8:1$salt$00", "out of bounds"),
        ("scrypt:1048576:1:1$salt$00", "out of bounds"),
        ("scrypt:32768:8$salt$00", "out of bounds"),
        ("pbkdf2:sha256:2147483647$salt$00", "out of bounds"),
        ("pbkdf2:nohash:1000$salt$00", "out of bounds"),
        ("pbkdf2:sha256:x$salt$00", "out of bounds"),
        ("pbkdf2:sha256$salt", "out of bounds"),
        ("$2b$16$" + "a" * 53, "out of bounds"),
        ("$2b$12$short", "out of bounds"),
        (ARGON.format(262145, 3, 4), "out of bounds"),
        (ARGON.format(65536, 17, 4), "out of bounds"),
        (ARGON.format(65536, 3, 0), "out of bounds"),
    ],
)
def test_what_a_log_in_may_cost(password_hash: str | None, expected: str) -> None:
    assert scheme(password_hash) == expected
