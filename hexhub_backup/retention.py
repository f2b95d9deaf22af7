"""What stays: the rules of the retention, and which of them holds a backup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Protocol, TypeVar

from hexhub_backup.errors import SettingError
from hexhub_backup.marking import marked, marked_plural

#: The retention where nothing is set, and how long the history remembers where no rule has days.
DEFAULT_DAYS = 30
#: So much of one rule is as good as for ever, and no date is beyond the calendar.
_MOST = 100_000

#: What a backup has to have in common with a newer one to be one too many, for each rule that
#: counts. ISO weeks begin on Monday.
_PERIODS: dict[str, Callable[[datetime], object]] = {
    marked("last"): lambda _: object(),
    marked("daily"): lambda at: (at.year, at.month, at.day),
    marked("weekly"): lambda at: at.isocalendar()[:2],
    marked("monthly"): lambda at: (at.year, at.month),
    marked("yearly"): lambda at: at.year,
}
#: The rules, in the order in which they are told.
RULES = (*_PERIODS, marked("days"))
#: Rules for people, of so many backups, or `days`.
_WORDS = {
    "last": marked("the last {count}"),
    "daily": marked("{count} daily"),
    "weekly": marked("{count} weekly"),
    "monthly": marked("{count} monthly"),
    "yearly": marked("{count} yearly"),
    "days": marked("all of {days}"),
}
_DAYS = marked_plural("{count} day", "{count} days")


class Held(Protocol):
    """What the rules need to know of a backup."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def age_from(self) -> datetime: ...
    @property
    def kept(self) -> bool: ...
    @property
    def good(self) -> bool: ...
    @property
    def intact(self) -> bool | None: ...
    @property
    def foreign(self) -> bool: ...
    @property
    def lost(self) -> bool: ...


B = TypeVar("B", bound=Held)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How many backups stay: a backup stays while any rule holds it.

    `last`, `daily`, `weekly`, `monthly` and `yearly` mean what they mean to restic's `forget`: of
    each of the latest so many days (weeks, …) that have a backup, the latest one, by the calendar
    of `zone`. (Since 0.16 restic also keeps the oldest one of all while a rule has places left.)
    `days`: all that are younger than so many days, from now (restic's `within` counts from the
    latest snapshot). 0 is no rule.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    days: int = 0
    zone: tzinfo = timezone.utc

    @classmethod
    def of(cls, rules: Any, zone: tzinfo, *, named: str) -> Rules:
        """The rules that a mapping says. Raises SettingError, which calls it `named`."""
        if not isinstance(rules, Mapping):
            raise SettingError(
                f'{named} is {rules!r}: it has to be a dict of rules, like {{"daily": 7, '
                '"monthly": 12}.'
            )
        for name, value in rules.items():
            if name not in RULES:
                raise SettingError(f"{named} has a rule {name!r}: there are {', '.join(RULES)}.")
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole and 0 <= value <= _MOST):
                raise SettingError(
                    f"{named} has {value!r} for {name}: it has to be a number from 0 to {_MOST}."
                )
        if not any(rules.values()):
            raise SettingError(
                f"{named} is {dict(rules)!r}, by which no backup would stay: give one rule a "
                "number of 1 or more."
            )
        return cls(zone=zone, **rules)

    def as_dict(self) -> dict[str, int]:
        """The rules that there are, by their names."""
        return {name: number for name in RULES if (number := getattr(self, name))}

    @property
    def counts(self) -> bool:
        """Whether a rule counts, so that a newer backup may take the place of an older one."""
        return any(name in _PERIODS for name in self.as_dict())

    @property
    def history_days(self) -> int:
        """For how many days operations are remembered and can be undone, and backups stay that
        are no good ones, which no rule counts."""
        return self.days or DEFAULT_DAYS

    def expires_at(self, backup: Held) -> datetime:
        """When the rule `days` lets a backup go."""
        return backup.age_from + timedelta(days=self.days if backup.good else self.history_days)

    def words(self) -> str:
        """The rules for people: `the last 3, 7 daily, 12 monthly, all of 30 days`; `30 days`."""
        rules = self.as_dict()
        days = _DAYS[self.days != 1].format(count=self.days)
        if rules == {"days": self.days}:
            return days
        return ", ".join(
            _WORDS[name].format(count=number, days=days) for name, number in rules.items()
        )


def held_by(
    backups: Iterable[B], rules: Rules, now: datetime
) -> Iterator[tuple[B, tuple[str, ...]]]:
    """Each of the `backups`, which come the latest first, with what holds it at `now`: names of
    rules; `kept` for a pin, `running` while it is made, `another registry` where it is not this
    one's, and `newest` for the newest good one and for the newest that was verified, where nothing
    else holds them. Nothing: it may go.

    One of another registry takes no place. A backup that was not verified is held as if it had
    been, and takes no place of one that was; one that is no good takes no place at all. What comes
    later in `backups` changes nothing.
    """
    verified, all_good = _Places(rules), _Places(rules)
    any_good = any_verified = False
    for backup in backups:
        held = list[str]()
        if backup.foreign:
            # What it may be one too many of is not known here.
            held.append(marked("another registry"))
        elif backup.good:
            at = backup.created_at.astimezone(rules.zone)
            places = all_good.take(at)
            newest = not any_good
            any_good = True
            if backup.intact:
                places = verified.take(at)
                newest = newest or not any_verified
                any_verified = True
            held += places
        counts = not backup.foreign and (rules.days or not backup.good)
        if counts and now < rules.expires_at(backup):
            held.append("days")
        if backup.kept:
            held.append("kept")
        if backup.state == "running":
            held.append(marked("running"))
        if not held and backup.good and newest:
            held.append(marked("newest"))
        yield backup, tuple(held)


def held_text(held: tuple[str, ...]) -> str:
    """What holds a backup, for people: `kept: daily, monthly`."""
    if not held:
        return marked("expired")
    if "kept" in held:
        return marked("kept")
    if held == ("newest",):
        return marked("past its date, kept as the last good one")
    rules = ", ".join(held)
    return marked(f"kept: {rules}")


class _Places:
    """The places that are left of each rule which counts, while backups come, the latest first."""

    def __init__(self, rules: Rules) -> None:
        self._left = {name: getattr(rules, name) for name in _PERIODS}
        self._last: dict[str, object] = {}

    def take(self, at: datetime) -> list[str]:
        """The rules that have a place for a backup of then."""
        taken = []
        for name, period_of in _PERIODS.items():
            if self._left[name]:
                period = period_of(at)
                if period != self._last.get(name):
                    self._last[name] = period
                    self._left[name] -= 1
                    taken.append(name)
        return taken
