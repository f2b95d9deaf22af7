"""Alerts: one when a problem begins, one when it ends, and one a day in between."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hexhub_backup import signals
from hexhub_backup.due import every, is_due
from hexhub_backup.history.alerts import ActiveAlert, ActiveAlerts
from hexhub_backup.history.transactions import GetEngine
from hexhub_backup.watching.channels import Alert, Channels, Event
from hexhub_backup.watching.problem import Problem
from hexhub_backup.watching.status import Status

_log = logging.getLogger("hexhub_backup")

#: Between two alerts about the same problem.
_REMINDER = timedelta(days=1)
#: So long an alert is left to whoever has claimed it, and may die over it.
_LEASE = timedelta(minutes=10)
#: After an alert that got out by no channel. Each further pause is twice as long, up to an hour.
_PAUSE, _LONGEST = timedelta(minutes=1), timedelta(hours=1)
#: So often it is tried, which takes a day.
_ATTEMPTS = 30

TEST = Problem(
    "test", "fine", "This is a test of the alerts.", "Nothing is wrong, and nothing has to be done."
)


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """Looks what is wrong, and tells of what is new, over, or a day old.

    What is to be told is written down first, and that it was told afterwards: whoever dies in
    between leaves it to the next look, so that an alert may come twice, and never gets lost.
    """

    engine: GetEngine
    #: What is wrong at a moment. Raises DatabaseError.
    status: Callable[[datetime], Status]
    channels: Channels

    def look(self, app: Any, now: datetime) -> None:
        """Of any number of processes that look at once, one tells of each change. Raises
        DatabaseError."""
        active = ActiveAlerts(self.engine)
        known = active.all()
        for problem in self.status(now).problems:
            found = known.pop(problem.code, None)
            if found is None:
                found = ActiveAlert(
                    code=problem.code, text=problem.text, began_at=now, tell_at=now, event="raised"
                )
                if not active.add(found):
                    continue
            if (event := _event(found, now, over=False)) is not None:
                self._tell(app, found, event, problem, now)
        for found in known.values():
            if (event := _event(found, now, over=True)) is not None:
                problem = Problem(found.code, "fine", found.text, "")
                self._tell(app, found, event, problem, now)

    def _tell(
        self,
        app: Any,
        found: ActiveAlert,
        event: Event,
        problem: Problem,
        now: datetime,
    ) -> None:
        active = ActiveAlerts(self.engine)
        claimed = dataclasses.replace(
            found,
            text=problem.text,
            tell_at=now + _LEASE,
            event=event,
            attempts=found.attempts if event == found.event else 0,
        )
        if not active.change(found, claimed):
            return
        alert = _alert(event, problem, found.began_at)
        if claimed.attempts == 0:
            over = event == "cleared"
            signal = signals.alert_cleared if over else signals.alert_raised
            signals.emit(signal, app, alert=dataclasses.asdict(alert))
        failed, attempts = self.channels.tell(app, alert), claimed.attempts + 1
        if failed and failed == self.channels.names:
            if attempts < _ATTEMPTS:
                pause = min(_PAUSE * 2**claimed.attempts, _LONGEST)
                again = dataclasses.replace(claimed, attempts=attempts, tell_at=now + pause)
                active.change(claimed, again)
                return
            _log.error("nobody could be told in a day: %s", alert.title)
        if event == "cleared":
            active.end(claimed)
        else:
            told = dataclasses.replace(claimed, event=None, attempts=0, tell_at=now + _REMINDER)
            active.change(claimed, told)

    def test(self, app: Any, now: datetime) -> list[str]:
        """Hand a test to each channel. Returns the names of those that failed."""
        return self.channels.tell(app, _alert("test", TEST, now))


def _event(found: ActiveAlert, now: datetime, *, over: bool) -> Event | None:
    """What there is to tell of a problem now; None where it was told, or is to be tried later."""
    due = is_due(found.tell_at, every(_REMINDER), now)
    if found.event is None:
        if over:
            return "cleared"
        return "reminder" if due else None
    if not due:
        return None
    if over:
        return "cleared"
    return "raised" if found.event == "raised" else "reminder"


def _alert(event: Event, problem: Problem, began_at: datetime) -> Alert:
    return Alert(event=event, began_at=began_at, **vars(problem))
