"""The state of the whole in one sentence: whether the registry could be restored, and what is
wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import tee
from typing import Any

from hexhub_backup import formatting
from hexhub_backup.destinations.base import Destination
from hexhub_backup.due import is_ahead
from hexhub_backup.history.findings import last_check
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import COPYING, WAITING, ListedBackup
from hexhub_backup.history.runs import BACKUP, Runs
from hexhub_backup.history.summary import (
    CopyCount,
    WrongBackup,
    count_copies,
    last_failure,
    last_rehearsal,
    wrong_backups,
)
from hexhub_backup.marking import marked
from hexhub_backup.schedule.times import longest_wait, times_of
from hexhub_backup.settings import Settings
from hexhub_backup.watching.keys import Keys, places_not_proved
from hexhub_backup.watching.place import Place
from hexhub_backup.watching.problem import Level, Problem

#: What the next backup may be larger than the last one.
_GROWTH = 1.1
_WITHOUT_SCHEDULE = timedelta(days=7)
#: So often a copy may have failed before somebody is told.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Status:
    """`good` is the newest backup that a registry could be restored from, None where there is
    none. `next_at` is when the schedule makes the next one. `places` are the destinations. The most
    serious of the `problems` comes first."""

    good: ListedBackup | None
    next_at: datetime | None
    problems: tuple[Problem, ...]
    places: tuple[Place, ...] = ()

    @property
    def level(self) -> Level:
        return self.problems[0].level if self.problems else "fine"

    def sentences(self, now: datetime) -> list[str]:
        """What is wrong with what to do, or that all is well; then the latest good backup."""
        if self.problems:
            said = [f"{each.text} {each.action}" for each in self.problems]
        else:
            said = ["The registry is protected."]
        if self.good is not None:
            said.append(_described(self.good, now))
        if self.next_at is not None:
            when = "now"
            if self.next_at > now:
                when = formatting.relative_time(self.next_at, now)
            said.append(f"The next backup is due {when}.")
        return [*said, *(place.words(now) for place in self.places)]

    def as_json(self) -> dict[str, Any]:
        """The document of `flask backups status --json`."""
        good = self.good
        return {
            "status": self.level,
            "problems": [vars(each) for each in self.problems],
            "latest_good_backup": None if good is None else good.id,
            "latest_good_at": None if good is None else good.created_at,
            "verified_at": None if good is None else good.verified_at,
            "next_at": self.next_at,
            "places": [vars(each) for each in self.places],
        }


def status(
    history: History, settings: Settings, destinations: Mapping[str, Destination], now: datetime
) -> Status:
    """What the history and the backup directory say. Raises DatabaseError."""
    # Each of them is read once.
    latest = _latest_ended(history)
    newest, good_ones, copied = tee(_good_ones(history, latest), 3)
    good = next(_until(now, good_ones), None)
    trouble = history.depot.trouble()
    limit = overdue_after(settings, now)
    counts = count_copies(history.catalog.engine) if destinations else []
    wrong = wrong_backups(history.catalog.engine)
    problems = [
        # Which backup is the latest good one can't be told then.
        *(
            _absence(good, limit, now)
            if trouble is None
            else [_unreadable(trouble, history.depot.advice)]
        ),
        *_dated_ahead(next(newest, None), now),
        *_copies(copied, destinations, now, now - limit),
        *_keys(Keys(history, settings, destinations)),
        *_latest(latest, good),
        *_damage(wrong),
        *_changed_files(wrong),
        *_rehearsal(history, settings, now),
        *_wrong_files(history),
        *_lost_copies(counts, destinations),
        *((*_room(history, good), *_prune(history)) if trouble is None else ()),
    ]
    problems.sort(key=lambda each: each.level != "critical")
    run = Runs(history.catalog.engine).all().get(BACKUP)
    found = tuple(_place(name, counts) for name in destinations)
    return Status(good, None if run is None else run.acts_at, tuple(problems), found)


def _place(name: str, counts: Iterable[CopyCount]) -> Place:
    good = [each for each in counts if each.place == name and not each.lost]
    return Place(
        name,
        copies=sum(each.count for each in good),
        not_verified=sum(each.count for each in good if each.intact is None),
        verified_at=next((each.verified_at for each in good if each.intact), None),
    )


def overdue_after(settings: Settings, now: datetime) -> timedelta:
    """The age from which on the latest good backup is overdue."""
    if settings.alert_after is not None:
        return timedelta(hours=settings.alert_after)
    if (next_after := times_of(settings)) is None:
        return _WITHOUT_SCHEDULE
    return 2 * longest_wait(next_after, next_after(now))


def _until(now: datetime, backups: Iterable[ListedBackup]) -> Iterator[ListedBackup]:
    """Without those that are dated ahead: how old they are can't be told."""
    return (each for each in backups if not is_ahead(each.created_at, now))


def _unreadable(trouble: str, advice: str) -> Problem:
    return Problem("no_directory", "critical", trouble, advice)


def _dated_ahead(newest: ListedBackup | None, now: datetime) -> list[Problem]:
    if newest is None or not is_ahead(newest.created_at, now):
        return []
    text = (
        f"Backup {newest.id} is dated {formatting.time(newest.created_at)}, which is still to "
        "come: it does not count as the latest one."
    )
    action = "Set the clock of this machine. If it is right, create a backup, and delete that one."
    return [Problem("dated_ahead", "warning", text, action)]


def _absence(good: ListedBackup | None, alert_after: timedelta, now: datetime) -> list[Problem]:
    if good is None:
        return [Problem("no_backup", "critical", "There is no good backup.", "Create one now.")]
    if now - good.created_at <= alert_after:
        return []
    limit = formatting.span(alert_after)
    text = f"The latest good backup is older than {limit}."
    return [Problem("overdue", "critical", text, "Create one now.")]


def _copies(
    good_ones: Iterable[ListedBackup], places: Collection[str], now: datetime, old: datetime
) -> list[Problem]:
    """The places that have no good copy of a backup which is younger than `old`. A copy of the
    latest one that is still being made may become one."""
    without, reasons = set(places), dict[str, str]()
    for at, backup in enumerate(_until(now, good_ones)):
        if not without or backup.created_at < old:
            break
        for copy in backup.copies:
            coming = copy.state in (WAITING, COPYING) and copy.attempts < _ATTEMPTS
            if copy.good or (at == 0 and coming):
                without.discard(copy.place)
            elif copy.reason is not None:
                reasons.setdefault(copy.place, copy.reason)
    if not without:
        return []
    names = " and ".join(sorted(without))
    told = [reasons[place] for place in sorted(without) if place in reasons]
    return [
        Problem(
            "copy_overdue",
            "warning",
            marked(f"There is no good copy in {names} of a backup that is new enough.")
            + _because(next(iter(told), None)),
            "Copy the latest backup there.",
        )
    ]


def _keys(keys: Keys) -> list[Problem]:
    """Copies that may turn out to be locked for good on the day that they are needed."""
    places = places_not_proved(keys.all())
    if not places:
        return []
    return [
        Problem(
            "key_not_proved",
            "warning",
            f"Nobody has proved yet that the copies in {' and '.join(places)} can be opened.",
            "Run 'flask backups keys check --identity FILE' with the private key.",
        )
    ]


def _latest_ended(history: History) -> ListedBackup | None:
    """The latest backup of this registry that has ended."""
    # One that somebody has cancelled says nothing of the one before it.
    passed = ("running", "cancelled")
    newest = (each for each in history.newest() if not each.foreign)
    return next((each for each in newest if each.state not in passed), None)


def _good_ones(history: History, latest: ListedBackup | None) -> Iterator[ListedBackup]:
    """The good backups of this registry, the latest first: all of them come after the latest that
    has ended, unless they are that."""
    if latest is not None and latest.good:
        yield latest
    yield from history.good_backups(own=True, after=latest)


def _latest(latest: ListedBackup | None, good: ListedBackup | None) -> list[Problem]:
    """What is wrong with the latest backup, where it is not a good one."""
    if latest is None or latest.file_unreadable or (good and latest.id == good.id):
        return []
    if latest.file_missing:
        return [
            Problem(
                "file_missing",
                "warning",
                f"The latest backup, {latest.id}, has lost its file.",
                "Put the file back, or delete the backup and create a new one.",
            )
        ]
    if latest.state == "completed":
        # Told with the others that are damaged.
        return []
    text = marked(
        f"The latest backup, {latest.id}, failed."
        if latest.state == "failed"
        else f"The latest backup, {latest.id}, was interrupted."
    )
    return [Problem("last_failed", "warning", text + _because(latest.reason), "Create one again.")]


def _because(why: str | None) -> str:
    return "" if why is None else " " + marked(f"Reason: {formatting.one_line(why)}")


def _damage(wrong: Iterable[WrongBackup]) -> list[Problem]:
    damaged = sum(each.damaged for each in wrong)
    if not damaged:
        return []
    text = formatting.plural(damaged, "{count} backup is damaged.", "{count} backups are damaged.")
    return [
        Problem(
            "damaged", "critical", text, "Check the disk, create a new backup, and delete these."
        )
    ]


def _changed_files(wrong: Iterable[WrongBackup]) -> list[Problem]:
    """That package files, which never change, did, and nobody has said that they know why."""
    found = {each.id: each.changed_files for each in wrong if each.changed_files}
    if not found:
        return []
    text = formatting.plural(
        sum(found.values()),
        "{count} package file is not what it was in an earlier backup: see {backups}.",
        "{count} package files are not what they were in an earlier backup: see {backups}.",
        backups=" and ".join(found),
    )
    return [
        Problem(
            "files_changed",
            "critical",
            text,
            "Find out who has replaced what, and acknowledge it on the page of that backup.",
        )
    ]


def _wrong_files(history: History) -> list[Problem]:
    """What the last check of the registry has found."""
    last = last_check(history.catalog.engine)
    if last is None or not last.harmful:
        return []
    text = formatting.plural(
        last.harmful,
        "{count} file of the registry is missing, or is not what it should be.",
        "{count} files of the registry are missing, or are not what they should be.",
    )
    action = "Bring back what the registry check names, and check again."
    return [Problem("files_wrong", "critical", text, action)]


def _rehearsal(history: History, settings: Settings, now: datetime) -> list[Problem]:
    """That the last restore which was tried did not bring all back, and, where the clock has one
    tried, that none was for two intervals."""
    engine = history.catalog.engine
    last = last_rehearsal(engine)
    if last is not None and not last.restorable:
        return [
            Problem(
                "not_restorable",
                "critical",
                f"Backup {last.backup} was rehearsed {formatting.ago(last.rehearsed_at, now)}, and "
                "not all of it came back.",
                "Look at the backup’s page, and rehearse it again when that is fixed.",
            )
        ]
    days = settings.rehearse if settings.schedule is not None else 0
    if not days or (last is not None and now - last.rehearsed_at <= timedelta(days=2 * days)):
        return []
    why = last_failure(engine, "rehearse")
    if last is None and why is None:
        # Its time has not come yet.
        return []
    text = marked(
        "No restore could be rehearsed."
        if last is None
        else f"No restore was rehearsed for {formatting.span(now - last.rehearsed_at)}."
    )
    action = "Rehearse the latest backup now."
    return [Problem("not_rehearsed", "warning", text + _because(why), action)]


def _lost_copies(counts: Iterable[CopyCount], places: Collection[str]) -> list[Problem]:
    lost = dict[str, int]()
    for each in counts:
        if each.lost and each.place in places:
            lost[each.place] = lost.get(each.place, 0) + each.count
    if not lost:
        return []
    text = formatting.plural(
        sum(lost.values()),
        "{count} copy of a backup is damaged or gone: {places}.",
        "{count} copies of backups are damaged or gone: {places}.",
        places=", ".join(marked(f"{count:,} in {place}") for place, count in lost.items()),
    )
    action = "Look after that place, and copy the backup there again, or delete it."
    return [Problem("copy_damaged", "warning", text, action)]


def _room(history: History, good: ListedBackup | None) -> list[Problem]:
    free = history.depot.free()
    needed = round((0 if good is None else good.size_bytes or 0) * _GROWTH)
    if free is None or free >= needed:
        return []
    text = (
        f"The next backup needs about {formatting.size(needed)}, and {formatting.size(free)} is "
        "free."
    )
    return [Problem("no_room", "warning", text, "Make room on the disk of the backups.")]


def _prune(history: History) -> list[Problem]:
    """That the next clean-up would delete nothing: the disk would be full some day."""
    why = next(history.refusals(), None)
    if why is None:
        return []
    text = marked(f"The clean-up is refused: {why.text}")
    return [Problem("prune_refused", "warning", text, why.action)]


def _described(good: ListedBackup, now: datetime) -> str:
    made = f"The latest good backup was made {formatting.ago(good.created_at, now)}"
    if good.verified_at is None:
        return f"{made}. It has not been verified yet."
    return f"{made}, and was verified {formatting.ago(good.verified_at, now)}."
