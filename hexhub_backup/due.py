"""When what was put off to a time is due. The clock that has set the time may have been wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

#: When something is due next, after a moment.
Next = Callable[[datetime], datetime]

#: A clock may be set back so far without that anything is done twice, or seems to lie ahead.
SET_BACK = timedelta(hours=1)


def every(interval: timedelta) -> Next:
    """So long after the last time."""
    return lambda moment: moment + interval


def righted(at: datetime, next_after: Next, now: datetime) -> datetime:
    """A time that something was put off to; `now` where it is further ahead than `next_after`
    sets it. A clock that was wrong has set it so, and it would be waited for as long as that clock
    was ahead."""
    return now if at > next_after(now + SET_BACK) else at


def is_due(at: datetime, next_after: Next, now: datetime) -> bool:
    """Whether a time has come, as it is `righted`."""
    return righted(at, next_after, now) <= now


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a time at which something was done is still to come: one of the two clocks is
    wrong, so that nobody knows how long ago it was."""
    return at > now + SET_BACK
