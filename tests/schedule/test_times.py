"""When schedules are due: as Debian's cron has it, over forty months in three time zones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from examples.host_app import create_app
from hexhub_backup.errors import SettingError
from hexhub_backup.schedule.clockwork import jobs
from hexhub_backup.schedule.times import cron
from hexhub_backup.settings import Settings

UTC = timezone.utc
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney")
BEGIN, MONTHS = datetime(2024, 1, 15, tzinfo=UTC), 40
END = datetime(2027, 5, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class By:
    """What a schedule means, said without its line: on which days, and at which times of them.
    `passing`: not by a time on the clock but by the time that passes, at these minutes of these
    hours."""

    days: Callable[[date], bool]
    times: tuple[tuple[int, int], ...]
    passing: bool = False


def at(*times: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(each[:2]), int(each[3:])) for each in times)


def always(_: date) -> bool:
    return True


def last_of_month(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


HOURS = [f"{hour:02}" for hour in range(24)]
SCHEDULES: dict[str, By] = {
    "daily 03:00": By(always, at("03:00")),
    "daily 02:30": By(always, at("02:30")),
    "daily 02:00": By(always, at("02:00")),
    "daily 00:00": By(always, at("00:00")),
    "weekly sun 02:15": By(lambda day: day.weekday() == 6, at("02:15")),
    "weekly MON 03:00": By(lambda day: day.weekday() == 0, at("03:00")),
    "59 1 * * *": By(always, at("01:59")),
    "0 2,3 * * *": By(always, at("02:00", "03:00")),
    "30 1-3 * * *": By(always, at("01:30", "02:30", "03:30")),
    "30 3 * * 1-5": By(lambda day: day.weekday() < 5, at("03:30")),
    "0 0 1 * *": By(lambda day: day.day == 1, at("00:00")),
    "45 2 L * *": By(last_of_month, at("02:45")),
    "5 2 29 2 *": By(lambda day: (day.month, day.day) == (2, 29), at("02:05")),
    "10 2 13 * 5": By(lambda day: day.day == 13 or day.weekday() == 4, at("02:10")),
    "0 2 */5 * *": By(lambda day: day.day in (1, 6, 11, 16, 21, 26, 31), at("02:00")),
    "20,40 2 * 3,4,10,11 7": By(
        lambda day: day.month in (3, 4, 10, 11) and day.weekday() == 6, at("02:20", "02:40")
    ),
    "30 2 * * sun#1": By(lambda day: day.weekday() == 6 and day.day <= 7, at("02:30")),
    "hourly": By(always, at(*(f"{hour}:00" for hour in HOURS)), passing=True),
    "*/30 2 * * *": By(always, at("02:00", "02:30"), passing=True),
    "10 * * * 0": By(
        lambda day: day.weekday() == 6, at(*(f"{hour}:10" for hour in HOURS)), passing=True
    ),
}  # fmt: skip


@cache
def clock(zone: str) -> dict[datetime, datetime]:
    """What a clock there shows every ten minutes, by the time in UTC."""
    count = (END - BEGIN) // (10 * MINUTE)
    moments = (BEGIN + 10 * MINUTE * number for number in range(1, count + 1))
    return {moment: moment.astimezone(ZoneInfo(zone)) for moment in moments}


def shown(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def due(by: By, zone: str) -> Iterator[datetime]:
    """All times at which it has to run, each once."""
    if by.passing:
        for moment, there in clock(zone).items():
            if (there.hour, there.minute) in by.times and by.days(there.date()):
                yield moment
        return
    found = set()
    for number in range((END - BEGIN).days + 3):
        day = shown(BEGIN, zone).date() + timedelta(days=number - 1)
        for hour, minute in by.times if by.days(day) else ():
            wanted = datetime.combine(day, time(hour, minute))
            moment = wanted.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
            if shown(moment, zone) != wanted:
                # The clocks leave it out: the first minute that they show after it.
                moment -= timedelta(hours=2)
                while shown(moment, zone) < wanted:
                    moment += MINUTE
            if BEGIN < moment <= END:
                found.add(moment)
    yield from sorted(found)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        *((text, ZONES[0]) for text in SCHEDULES),
        *(
            pytest.param(text, zone, marks=pytest.mark.matrix)
            for text in SCHEDULES
            for zone in ZONES[1:]
        ),
        # Its clocks change by half an hour, which cronsim follows at times on the clock.
        *((text, "Australia/Lord_Howe") for text, by in SCHEDULES.items() if not by.passing),
    ],
)
def test_a_schedule_is_due_when_debians_cron_runs_and_never_twice(text: str, zone: str) -> None:
    next_after = cron(text, ZoneInfo(zone), named="it")
    found, moment = list[datetime](), BEGIN
    while (moment := next_after(moment)) <= END:
        found.append(moment)
    assert found == list(due(SCHEDULES[text], zone))
    assert found == sorted({*found})


def test_forty_months_have_both_changes_of_each_zone() -> None:
    assert len(SCHEDULES) == 20
    for zone in ZONES:
        offsets = [each.utcoffset() for each in clock(zone).values()]
        changes = [(a, b) for a, b in pairwise(offsets) if a != b]
        assert len(changes) >= 6
        assert len({*changes}) == 2


def test_the_hour_that_comes_twice_is_asked_from_its_second_time_too() -> None:
    """Whoever is late there is not told of what was due the first time."""
    berlin = ZoneInfo("Europe/Berlin")
    late = datetime(2025, 10, 26, 2, 10, tzinfo=berlin, fold=1)
    next_after = cron("daily 02:30", berlin, named="it")
    assert next_after(late) == datetime(2025, 10, 27, 2, 30, tzinfo=berlin)


NO_SCHEDULES = [
    *["", "daily", "daily 25:00", "daily 3", "weekly 03:00", "weekly someday 03:00", "monthly"],
    *["* * * *", "* * * * * *", "60 * * * *", "0 0 30 2 *", "0 0 31 4,6 *", "@daily", 3, True],
]


@pytest.mark.parametrize("text", NO_SCHEDULES)
def test_what_is_no_schedule_is_refused(text: Any) -> None:
    with pytest.raises(SettingError, match=r"SCHEDULE is .*, which is no schedule"):
        cron(text, UTC, named="HEXHUB_BACKUP_SCHEDULE")


def test_a_schedule_without_its_library_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    settings = Settings(path=Path("/nowhere"), schedule="daily 03:00")
    with pytest.raises(SettingError, match=r"pip install 'hexhub_backup\[schedule\]'"):
        jobs(settings)
    assert "backup" not in {job.name for job in jobs(replace(settings, schedule=None))}


def test_the_example_host_makes_a_backup_every_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOST_APP_SCHEDULE")
    settings = create_app(tmp_path).extensions["hexhub_backup"].settings
    assert settings.schedule == "daily 03:00"
    assert "backup" in {job.name for job in jobs(settings)}
