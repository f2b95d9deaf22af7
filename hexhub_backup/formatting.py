"""Numbers, sizes, times and plurals for people: on pages, at a terminal and in the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from hexhub_backup.marking import marked, marked_plural

#: What stands where nothing is known.
UNKNOWN = "–"

_SIZE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
#: The least distance and the length of a unit, then its sentences: of the past, of the future.
_SPANS = (
    (
        timedelta(days=365),
        timedelta(days=365),
        marked_plural("{count} year ago", "{count} years ago"),
        marked_plural("in {count} year", "in {count} years"),
    ),
    (
        timedelta(days=60),
        timedelta(days=30),
        marked_plural("{count} month ago", "{count} months ago"),
        marked_plural("in {count} month", "in {count} months"),
    ),
    (
        timedelta(days=2),
        timedelta(days=1),
        marked_plural("{count} day ago", "{count} days ago"),
        marked_plural("in {count} day", "in {count} days"),
    ),
    (
        timedelta(hours=2),
        timedelta(hours=1),
        marked_plural("{count} hour ago", "{count} hours ago"),
        marked_plural("in {count} hour", "in {count} hours"),
    ),
    (
        timedelta(minutes=2),
        timedelta(minutes=1),
        marked_plural("{count} minute ago", "{count} minutes ago"),
        marked_plural("in {count} minute", "in {count} minutes"),
    ),
)
_CONTENTS = {
    "users": marked_plural("{count} user", "{count} users"),
    "packages": marked_plural("{count} package", "{count} packages"),
    "releases": marked_plural("{count} release", "{count} releases"),
    "owners": marked_plural("{count} owner", "{count} owners"),
    "package_files": marked_plural("{count} package file", "{count} package files"),
    "doc_files": marked_plural("{count} docs file", "{count} docs files"),
}


def one_line(text: str) -> str:
    """`text` with every control character written as an escape: names come from archives."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def number(count: int | None) -> str:
    """`1,234`."""
    return UNKNOWN if count is None else f"{count:,}"


def plural(count: int | None, one: str, many: str, **values: object) -> str:
    """The sentence for one, or that for any other number, with `{count}` filled in, and what else
    there is."""
    return (one if count == 1 else many).format(count=number(count), **values)


def contents(counts: Mapping[str, int], *names: str) -> str:
    """The counts of a manifest, or those with these names: `15 users, 1 package, …`."""
    return ", ".join(
        plural(counts.get(name), *_CONTENTS[name]) for name in names or _CONTENTS if name in counts
    )


def size(count: float | None) -> str:
    """A number of bytes, to three significant digits: `1.05 MB`."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(_SIZE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return plural(round(count), "{count} byte", "{count} bytes")
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {_SIZE_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    if whole < 3600:
        return marked(f"{minutes} min {seconds} s")
    hours, minutes = divmod(minutes, 60)
    return marked(f"{hours} h {minutes} min")


def waited(length: timedelta) -> str:
    """How long something has lasted: `4 s`, `3 min 5 s`."""
    whole = max(0, int(length.total_seconds()))
    return f"{whole} s" if whole < 60 else duration(whole)


def time_left(seconds: float) -> str:
    """An estimate, and so in steps of five seconds: `about 25 s left`."""
    time = waited(timedelta(seconds=max(5, math.ceil(seconds / 5) * 5)))
    return marked(f"about {time} left")


def span(length: timedelta) -> str:
    """A length of time as people set it: `45 seconds`, `10 minutes`, `36 hours`, `8 days`."""
    seconds = round(length / timedelta(seconds=1))
    if seconds < 120:
        return plural(seconds, "{count} second", "{count} seconds")
    if seconds < 3600:
        return plural(round(seconds / 60), "{count} minute", "{count} minutes")
    hours = round(seconds / 3600)
    if hours % 24 or hours < 48:
        return plural(hours, "{count} hour", "{count} hours")
    return plural(hours // 24, "{count} day", "{count} days")


def late(seconds: float) -> str:
    """How much later something came than it was due: `late by 2 h`."""
    minutes = round(seconds / 60)
    if minutes < 120:
        return marked(f"late by {minutes} min")
    hours = round(seconds / 3600)
    return marked(f"late by {hours} h" if hours < 48 else f"late by {round(seconds / 86400)} days")


def time(moment: datetime) -> str:
    """An aware time, to the second: `2026-01-31 10:30:00 UTC`."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def ago(moment: datetime, now: datetime) -> str:
    """The relative time of what has happened, by a clock that may be ahead of ours."""
    return relative_time(min(moment, now), now)


def relative_time(moment: datetime, now: datetime) -> str:
    """A time as people say it: `3 hours ago`, `in 27 days`, `just now`."""
    distance = moment - now
    is_ahead, distance = distance > timedelta(0), abs(distance)
    for least, length, past, future in _SPANS:
        if distance >= least:
            return plural(round(distance / length), *(future if is_ahead else past))
    if is_ahead:
        return marked("in a minute")
    return marked("just now" if distance < timedelta(minutes=1) else "a minute ago")
