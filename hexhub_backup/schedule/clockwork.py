"""What is done by the clock, and when: backups, prunes, alerts, verifications."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hexhub_backup import verbs
from hexhub_backup.due import Next, every
from hexhub_backup.errors import PruneRefusedError
from hexhub_backup.extras import require
from hexhub_backup.history.models import Who
from hexhub_backup.history.runs import BACKUP, REHEARSAL, VERIFICATION
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.schedule.times import times_of
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.verbs.base import Order
from hexhub_backup.verbs.prune import PRUNE_EVERY

#: Who orders what is due, to the history.
SCHEDULE = Who(actor="schedule")
#: Between two looks whether something is wrong.
_ALERTS_EVERY = timedelta(minutes=5)
#: Between two looks whether a backup, or the registry itself, has to be read again.
_VERIFY_EVERY = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing that is done by the clock; a new one is a line in `jobs`.

    `spec` is all that its times hang on: where that changes, its next run is worked out anew.
    """

    #: Of its row.
    name: str
    spec: str
    next_after: Next
    #: The order of a run of an app's, with this id; None where nothing is to be ordered. Raises
    #: BackupError.
    order: Callable[[Any, str, datetime], Order | None]
    #: Whether copies of backups that are due leave first: it reads for long, and nobody waits.
    after_copies: bool = False


def jobs(settings: Settings) -> list[Job]:
    """What is done by the clock in an app. Raises SettingError."""
    found = [
        Job(name="alerts", spec="5 minutes", next_after=every(_ALERTS_EVERY), order=_look),
        Job(name="prune", spec="daily", next_after=every(PRUNE_EVERY), order=_prune),
    ]
    if settings.verify_days:
        look = every(_VERIFY_EVERY)
        found.append(
            Job(
                name=VERIFICATION,
                spec="hourly",
                next_after=look,
                order=_verify,
                after_copies=True,
            )
        )
    if settings.schedule is not None:
        require("schedule", f"{PREFIX}SCHEDULE")
        if settings.rehearse:
            days = timedelta(days=settings.rehearse)
            spec = f"{settings.rehearse} days"
            found.append(
                Job(
                    name=REHEARSAL,
                    spec=spec,
                    next_after=every(days),
                    order=_rehearse,
                    after_copies=True,
                )
            )
    if (times := times_of(settings)) is not None:
        spec = f"{settings.schedule} {settings.timezone}"
        # First: a backup is what the others look after.
        found.insert(0, Job(name=BACKUP, spec=spec, next_after=times, order=_create))
    return found


def _create(app: Any, operation: str, now: datetime) -> Order:
    return verbs.create.order(SCHEDULE, operation)


def _prune(app: Any, operation: str, now: datetime) -> Order:
    """Raises PruneRefusedError: a refusal should not leave an operation in the history each time.
    What holds password hashes goes all the same."""
    backups = backups_of(app)
    try:
        backups.history.expired()
    except PruneRefusedError:
        # Not where the backup directory can't be read.
        with suppress(OSError):
            backups.remove_day_old()
        raise
    return verbs.prune.order(SCHEDULE, operation)


def _look(app: Any, operation: str, now: datetime) -> None:
    """Tell of what is wrong. That is no operation: it changes nothing."""
    backups_of(app).alerts.look(app, now)


def _verify(app: Any, operation: str, now: datetime) -> Order | None:
    """One at a time: what is due while another runs is found by the next look. The registry itself
    is checked when no backup has to be read again."""
    backups = backups_of(app)
    days = backups.settings.verify_days
    order = verbs.verify_all.order_due(SCHEDULE, operation, days=days, now=now)
    check = verbs.doctor.order(SCHEDULE, operation, gently=True)
    running = {each.verb for each in backups.catalog.unfinished_operations()}
    if running & {order.verb, check.verb}:
        return None
    if verbs.verify_all.due(backups.history, order.options):
        return order
    return check if verbs.doctor.due(backups.history, days=days, now=now) else None


def _rehearse(app: Any, operation: str, now: datetime) -> Order | None:
    """The newest good backup that no key is needed for, unless it was rehearsed already."""
    history = backups_of(app).history
    for backup in history.good_backups(own=True):
        if backup.elsewhere is None or not backup.elsewhere.encrypted:
            if backup.rehearsed_at is not None:
                return None
            return verbs.rehearse.order(history, SCHEDULE, backup.id, operation=operation)
    return None
