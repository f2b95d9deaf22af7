"""When a schedule is due: cron lines, and words for the usual ones. Only this imports cronsim."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from hexhub_backup.due import Next
from hexhub_backup.errors import SettingError
from hexhub_backup.settings import PREFIX, Settings

_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_ANY_TIME = datetime(2026, 1, 31, tzinfo=timezone.utc)
#: Nothing that daylight saving does to a clock reaches so far.
_AROUND = timedelta(hours=3)
#: Of a schedule that has no backup at weekends, say, the longest time between two counts.
_RUNS = 8


def times_of(settings: Settings) -> Next | None:
    """The times of the backups that are made by themselves; None without a schedule. Raises
    SettingError."""
    if settings.schedule is None:
        return None
    return cron(settings.schedule, settings.zone, named=f"{PREFIX}SCHEDULE")


@lru_cache(100)
def longest_wait(next_after: Next, due: datetime) -> timedelta:
    """The longest time between two of the runs that follow one which is `due`."""
    longest = timedelta()
    for _ in range(_RUNS):
        later = next_after(due)
        longest, due = max(longest, later - due), later
    return longest


def cron(text: str, zone: tzinfo, *, named: str) -> Next:
    """The times of a schedule: `hourly`, `daily 03:00`, `weekly sun 03:00` or a cron line of five
    fields, on the clocks of a zone.

    At the changes of daylight saving it does what Debian's cron does. What is due at a time that
    the clocks leave out is due once they have gone on; what is due at a time that comes twice is
    due the first time; and what is due by `*` of the hours or the minutes goes by the time that
    passes.

    Raises SettingError, which calls the setting `named`.
    """
    from cronsim import CronSimError

    line = _line(text) if isinstance(text, str) else ""
    next_after = _times(line, zone)
    try:
        # Of six fields it would take the first for seconds.
        why = "" if len(line.split()) == 5 and next_after(_ANY_TIME) else "it has no five fields"
    except (CronSimError, ValueError) as error:
        why = str(error)
    except StopIteration:
        why = "it is never due"
    if why:
        raise SettingError(
            f'{named} is {text!r}, which is no schedule ({why}): write "hourly", "daily 03:00", '
            '"weekly sun 03:00" or a cron line like "30 3 * * 1-5".'
        )
    return next_after


@lru_cache(100)
def _times(line: str, zone: tzinfo) -> Next:
    """The same function for the same line, so that others can remember what they asked it."""
    from cronsim import CronSim

    def next_after(moment: datetime) -> datetime:
        # cronsim counts from what the clocks show, which may have been set back since.
        times = CronSim(line, (moment - _AROUND).astimezone(zone))
        return next(utc for time in times if (utc := time.astimezone(timezone.utc)) > moment)

    return next_after


def _line(text: str) -> str:
    """The cron line of a schedule, which may be one already."""
    words = text.lower().split()
    if words == ["hourly"]:
        return "0 * * * *"
    if words[:1] == ["daily"] and len(words) == 2 and (time := _TIME.fullmatch(words[1])):
        return f"{int(time[2])} {int(time[1])} * * *"
    if words[:1] == ["weekly"] and len(words) == 3 and (time := _TIME.fullmatch(words[2])):
        return f"{int(time[2])} {int(time[1])} * * {words[1]}"
    return text
