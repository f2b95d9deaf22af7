"""Verify all: check the archive of every backup, and of copies those that are due, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from hexhub_backup.depot.names import new_id
from hexhub_backup.destinations.base import HERE
from hexhub_backup.due import every, is_ahead, is_due
from hexhub_backup.errors import (
    ArchiveError,
    AwayError,
    BusyError,
    DestinationError,
    NotFoundError,
    SpaceError,
    StorageError,
)
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import COPIED, MISSING, Copy, ListedBackup, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.pace import Pace
from hexhub_backup.operations.progress import Progress, Within
from hexhub_backup.verbs import fetching, verify
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb

STEPS = ("list_backups", "verify_backups")
#: Until a copy is asked for again whose place was away, or that could not be read.
_AGAIN = timedelta(days=1)


def order(who: Who, operation: str | None = None) -> Order:
    """Check every backup that has an archive on this server."""
    return Order(id=operation or new_id(), verb=VERIFY_ALL.name, who=who)


def order_due(who: Who, operation: str, *, days: int, now: datetime) -> Order:
    """Check the backups and the copies that were not verified for so many `days`, the longest ago
    first, and in nobody's way: at the rate that is set, and without a trace in the system's
    cache."""
    options = {"not_since": (now - timedelta(days=days)).isoformat(), "now": now.isoformat()}
    return replace(order(who, operation), options=options)


@dataclass(frozen=True)
class Archive:
    """What is checked: the archive of a backup on this server, or a `copy` of it elsewhere."""

    backup: ListedBackup
    copy: Copy | None = None

    @property
    def place(self) -> str:
        return HERE if self.copy is None else self.copy.place

    @property
    def name(self) -> str:
        """What it is called in lines about it."""
        destination = self.place
        if self.copy is None:
            return marked(f"backup {self.backup.id}")
        return marked(f"backup {self.backup.id} in {destination}")

    @property
    def title(self) -> str:
        """The name at the beginning of a line."""
        destination = self.place
        if self.copy is None:
            return marked(f"Backup {self.backup.id}")
        return marked(f"Backup {self.backup.id} in {destination}")

    @property
    def last(self) -> datetime:
        """When it was verified; long ago where it never was."""
        found = self.copy or self.backup
        return found.verified_at or datetime.min.replace(tzinfo=timezone.utc)

    @property
    def work(self) -> int:
        """The bytes that are read: a copy whose hash does not tell is read here once more."""
        if self.copy is None:
            return self.backup.size_bytes or 0
        return (self.copy.size_bytes or 0) * (1 if verify.hash_tells(self.copy) else 2)


def due(history: History, options: Mapping[str, Any]) -> list[Archive]:
    """What the options of an order say: the longest ago first. What was verified by a clock that
    was ahead comes last."""
    not_since, now = (datetime.fromisoformat(options[name]) for name in ("not_since", "now"))
    completed = [each for each in history.all_backups() if each.state == "completed"]
    copies = [
        Archive(backup, copy)
        for backup in completed
        for copy in backup.copies
        # Whoever made another registry's reads it.
        if copy.place in history.places
        and not backup.foreign
        and copy.state == COPIED
        and (copy.due_at is None or is_due(copy.due_at, every(_AGAIN), now))
        # Nothing tells without a key what is in it.
        and not (copy.encrypted and copy.sha256 is None)
    ]
    found = [
        each
        for each in (*_here(completed), *copies)
        if each.last <= not_since or is_ahead(each.last, now)
    ]
    return sorted(found, key=lambda each: each.last)


def _here(backups: list[ListedBackup]) -> list[Archive]:
    return [
        Archive(backup)
        for backup in backups
        if backup.state == "completed" and not backup.file_missing
    ]


class _OneOfAll(Within):
    """The progress of one archive, whose bytes were expected with those of all others."""

    def __init__(self, outer: Progress, name: str, pace: Pace | None) -> None:
        super().__init__(outer, "verify_backups", {})
        self._name = name
        self._pace = pace

    def expect(self, work: Mapping[str, tuple[int, int]]) -> None:
        """All have been expected at once."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.check()
        yield

    def advance(self, size: int = 0, items: int = 0) -> None:
        super().advance(size, items)
        if self._pace is not None:
            self._pace.passed(size, self.check)

    def warn(self, warning: Notice, *, first: bool = False) -> None:
        record = self._name if warning.record is None else f"{self._name}, {warning.record}"
        super().warn(Notice(warning.code, warning.message, record), first=first)


def _work(context: Context, progress: Progress) -> Outcome:
    options, rate = context.operation.options, None
    with progress.step("list_backups"):
        if "not_since" in options:
            found, rate = due(context.history, options), context.settings.verify_rate
        else:
            found = _here(context.history.all_backups())
    progress.expect({"verify_backups": (sum(each.work for each in found), 0)})
    checked: list[dict[str, Any]] = []
    away: dict[str, str] = {}
    unread: Exception | None = None
    with progress.step("verify_backups"):
        for each in found:
            progress.check()
            if each.copy is not None and each.place in away:
                # One that does not answer is waited for once.
                _put_off(context, each.copy, away[each.place])
                continue
            try:
                reason = _check(context, each, progress, rate)
            except (BusyError, NotFoundError):
                progress.log(f"{each.title} is being deleted, or was made anew: it is not checked.")
            except (DestinationError, SpaceError, StorageError, OSError) as error:
                if each.copy is None:
                    if not isinstance(error, StorageError) or context.depot.trouble() is not None:
                        raise
                    # Nothing is known of it by that: it is told when all others are checked.
                    progress.log(f"{each.title} could not be read: {error}")
                    unread = unread or error
                    continue
                progress.log(f"{each.title} could not be read, and is left for a day: {error}")
                _put_off(context, each.copy, str(error))
                if isinstance(error, AwayError):
                    away[each.place] = str(error)
            else:
                checked.append(
                    {
                        "backup": each.backup.id,
                        "place": each.place,
                        "intact": reason is None,
                        "reason": reason,
                    }
                )
    if unread is not None:
        raise unread
    return {"checked": checked}


def _check(context: Context, archive: Archive, progress: Progress, rate: int | None) -> str | None:
    """Check one, and write down at once what was found: that stays known where the rest is
    cancelled. Returns what is wrong with it. Raises NotFoundError and BusyError where it is not to
    be checked any more."""
    if archive.copy is None:
        reason = _check_here(context, archive, progress, rate)
    else:
        reason = _check_copy(context, archive, archive.copy, progress, rate)
    if reason is None:
        progress.log(f"{archive.title} is intact.")
    else:
        code = "damaged_backup" if archive.copy is None else "damaged_copy"
        progress.warn(notice(code, archive.name, "found", reason=reason))
    return reason


def _check_here(
    context: Context, archive: Archive, progress: Progress, rate: int | None
) -> str | None:
    backup, reason = archive.backup.id, None
    name = context.depot.archive_name(backup)
    with context.depot.using(name) as source:
        pace = None if rate is None else Pace(source.forget, rate)
        try:
            verify.check(context, name, _OneOfAll(progress, archive.name, pace), backup)
        except ArchiveError as error:
            reason = str(error)
        context.catalog.update_backup(backup, verified_at=utc_now(), intact=reason is None)
        if pace is not None:
            pace.forget()
    return reason


def _check_copy(
    context: Context, archive: Archive, copy: Copy, progress: Progress, rate: int | None
) -> str | None:
    """As the verification of this copy alone checks it. One that is gone is missing by then."""
    options = verify.options_of(context.history, context.operation.id, copy)
    operation = replace(context.operation, backup_id=copy.backup_id, options=options)
    one, reason = replace(context, operation=operation), None
    pace = None if rate is None else Pace(None, rate)
    try:
        found = verify.VERIFY.work(one, _OneOfAll(progress, archive.name, pace))
        fetching.learn_manifest(one, copy.backup_id, found["manifest"])
    except ArchiveError as error:
        reason = str(error)
    except NotFoundError:
        for each in context.catalog.copies.of(copy.backup_id):
            if (each.place, each.state) == (copy.place, MISSING):
                return each.reason
        raise
    if not fetching.remember(context, copy, **fetching.checked(intact=not reason, reason=reason)):
        raise NotFoundError(f"{archive.title} is not there any more.")
    return reason


def _put_off(context: Context, copy: Copy, reason: str) -> None:
    """Leave a copy that says nothing of itself as it is, and ask for it again later."""
    due_at = datetime.fromisoformat(context.operation.options["now"]) + _AGAIN
    reason = marked(f"It could not be verified. {reason}")
    fetching.remember(context, copy, reason=reason, due_at=due_at)


VERIFY_ALL = Verb(
    name="verify_all",
    noun="Verification of all backups",
    exclusive=False,
    steps=lambda _: STEPS,
    step_words={
        "list_backups": "List the backups",
        "verify_backups": "Verify every byte of each archive",
    },
    work=_work,
    give_up=verify.give_up,
    audit_event="backup.verified",
    # The clock does it day by day: what it finds is news.
    is_news=lambda operation: "not_since" not in operation.options or bool(operation.warning_count),
)
