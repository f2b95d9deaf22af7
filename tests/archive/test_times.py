"""One parser of times: what a check of an archive takes, a host's column takes too."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from hexhub_backup.archive.records import USERS
from hexhub_backup.archive.rules.fields import check_record
from hexhub_backup.archive.times import (
    are_times,
    format_time,
    is_time,
    microseconds,
    parse_time,
    parse_times,
)
from hexhub_backup.registry.mapping.codecs import CodecError, codec_of

GOOD = {
    "2026-01-31T10:30:00.123456Z": 1769855400123456,
    "2026-01-31T10:30:00Z": 1769855400000000,
    "2026-01-31T10:30:00": 1769855400000000,
    "2026-01-31 10:30:00.5": 1769855400500000,
    "2026-01-31T10:30:00.123456789012Z": 1769855400123456,
    "2026-01-31T10:30:00+01:00": 1769851800000000,
    "2026-01-31T10:30:00-0130": 1769860800000000,
    "1969-12-31T23:59:59.999999Z": -1,
    "0001-01-01T00:00:00+05:00": -62135614800000000,
}
BAD = [
    *("", "now", "2026-01-31", "2026-01-31T10:30", "20260131T103000Z", "2026-02-30T10:30:00Z"),
    *(
        "2026-01-31T24:00:00Z",
        "2026-01-31T10:30:60Z",
        "2026-01-31T10:30:00.Z",
        "0000-01-01T00:00:00Z",
    ),
    *("2026-01-31T10:30:00+24:00", "2026-01-31T10:30:00+05:60", "2026-01-31T10:30:00z"),
    *("2026-01-31T10:30:00.1234567890123Z", "２026-01-31T10:30:00Z", "2026-01-31T10:30:00Z\n"),
]


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_a_time_in_each_form(text: str, expected: int) -> None:
    assert microseconds(text) == expected
    assert is_time(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_time(text: str) -> None:
    assert not is_time(text)
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@pytest.mark.parametrize("day", range(32))
@pytest.mark.parametrize("month", ["01", "02", "04", "13"])
def test_many_times_are_what_each_is(month: str, day: int) -> None:
    first, text = "2024-02-29T10:30:00.000001Z", f"2025-{month}-{day:02}T23:59:59.000000Z"
    found = parse_times([first, text])
    assert are_times([first, None, text]) == is_time(text) == (found is not None)
    if found is not None:
        assert found == [parse_time(each).replace(tzinfo=None) for each in (first, text)]


@pytest.mark.parametrize("text", [*GOOD, *BAD])
def test_many_times_are_in_our_form(text: str) -> None:
    found = parse_times([text])
    assert found in (None, [parse_time(text).replace(tzinfo=None)] if text in GOOD else None)
    assert are_times([text]) == (text in GOOD)


@pytest.mark.parametrize("text", [*GOOD, *BAD])
def test_a_check_and_a_column_take_the_same_times(text: str) -> None:
    faults = check_record(USERS, {"username": "ada", "updated_at": text})
    codec = codec_of(sa.DateTime(timezone=True), timezone.utc)
    assert codec is not None
    try:
        codec.decode(text)
    except CodecError:
        # A column holds no time before the year 1 of its own zone.
        assert faults or parse_time(text).year == 1
    else:
        assert not faults


@given(st.datetimes(), st.integers(-1439, 1439))
def test_what_is_written_is_read(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    try:
        text = format_time(aware)
    except OverflowError:
        return
    assert parse_time(text) == aware
    assert parse_time(aware.isoformat()) == aware
