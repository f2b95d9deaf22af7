"""Times as they stand in an archive: ISO 8601, read in several forms and written in one.

The rules are the same for whoever checks a record and whoever stores it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

_FORM = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,12}))?"
    r"(?:Z|([+-](?:[01][0-9]|2[0-3])):?([0-5][0-9]))?",
    re.ASCII,
)
# The form that we and HexHub write, on one of the days that every month has: nearly all are such,
# and each such text is a time.
_WRITTEN = re.compile(
    "(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    "T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][.][0-9]{6}Z",
    re.ASCII,
).fullmatch
_OUR_FORM = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z", re.ASCII
).fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)


def parse_time(text: str) -> datetime:
    """An aware time. Raises ValueError for a text that is none.

    `2026-01-31T10:30:00.123456Z`, also with a space for the `T`, an offset (`+01:00`, `+0100`) for
    the `Z`, and a fraction of up to 12 digits or none. Without an offset it means UTC; digits
    beyond microseconds are dropped.
    """
    if _WRITTEN(text):
        return datetime.fromisoformat(f"{text[:-1]}+00:00")
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("it is no time in ISO 8601")
    date, clock, fraction, hours, minutes = match.groups()
    offset = "+00:00" if hours is None else f"{hours}:{minutes}"
    # In the one form that every Python from 3.10 on reads.
    return datetime.fromisoformat(f"{date}T{clock}.{fraction or '0':0<6.6}{offset}")


def parse_times(texts: Sequence[str]) -> list[datetime] | None:
    """Naive times in UTC, where all are in the form in which we write them; None where one is not.
    Many at a time take a third of what each takes by itself."""
    if not all(map(_OUR_FORM, texts)):
        return None
    try:
        return [datetime.fromisoformat(text[:-1]) for text in texts]
    except ValueError:
        return None


def is_time(text: str) -> bool:
    """Whether `parse_time` takes a text."""
    if _WRITTEN(text):
        return True
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def are_times(texts: Iterable[str | None]) -> bool:
    """Whether each is a time or None."""
    others = [text for text in texts if text is not None and not _WRITTEN(text)]
    return all(map(is_time, others))


def microseconds(text: str) -> int:
    """A time in microseconds since 1970. Raises ValueError for a text that is none."""
    if _WRITTEN(text):
        return (datetime.fromisoformat(text[:-1]) - _NAIVE_EPOCH) // _MICROSECOND
    return (parse_time(text) - _EPOCH) // _MICROSECOND


def format_time(moment: datetime) -> str:
    """An aware time as it is written: `2026-01-31T10:30:00.000000Z`. Raises OverflowError for one
    outside of the years 1 to 9999 in UTC."""
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
