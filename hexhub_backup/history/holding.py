"""What holds each backup in each place: the rules of a place go by what is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hexhub_backup.destinations.base import HERE
from hexhub_backup.history.models import COPIED, COPYING, MISSING, Backup, Copy, ListedBackup
from hexhub_backup.marking import marked
from hexhub_backup.retention import Rules, held_by

#: The states of a copy that a place has, or had.
_THERE = (COPIED, COPYING, MISSING)


@dataclass(frozen=True)
class Stored:
    """A backup in one place, as the rules of that place see it: on this server, or as a `copy`."""

    backup: Backup | ListedBackup
    copy: Copy | None = None

    @property
    def id(self) -> str:
        return self.backup.id

    @property
    def state(self) -> str:
        """That of the backup; `running` while the copy is made."""
        if self.copy is not None and self.copy.state == COPYING:
            return "running"
        return self.backup.state

    @property
    def created_at(self) -> datetime:
        return self.backup.created_at

    @property
    def age_from(self) -> datetime:
        return self.backup.age_from

    @property
    def kept(self) -> bool:
        return self.backup.kept

    @property
    def foreign(self) -> bool:
        return self.backup.foreign

    @property
    def good(self) -> bool:
        """Whether a registry could be restored from this one, as far as is known."""
        return self.backup.good_here if self.copy is None else self.copy.good

    @property
    def lost(self) -> bool:
        """Whether its file is gone from this server, and it is nowhere else."""
        return self.copy is None and self.backup.lost

    @property
    def intact(self) -> bool | None:
        return (self.copy or self.backup).intact

    @property
    def size_bytes(self) -> int | None:
        return (self.copy or self.backup).size_bytes

    def lock(self, now: datetime) -> tuple[str, ...]:
        """What holds a copy that nobody can delete yet."""
        until = None if self.copy is None else self.copy.locked_until
        return () if until is None or until <= now else (marked("locked"),)


Holds = list[tuple[Stored, tuple[str, ...]]]


def held_in(
    place: str, backups: Iterable[Backup | ListedBackup], rules: Rules, now: datetime
) -> Holds:
    """The backups in a place, of all that come the latest first, with what holds each at `now`:
    see `retention.held_by`; `locked` where the place lets nobody delete it, and nothing else holds
    it."""
    found = [each for backup in backups if (each := stored(backup, place)) is not None]
    return [(each, held or each.lock(now)) for each, held in held_by(found, rules, now)]


def stored(backup: Backup | ListedBackup, place: str) -> Stored | None:
    """A backup in a place; None where it is not there. One that is nowhere counts as one here that
    is no good: its row is. One with a good copy at a place that is no destination just now is
    somewhere: this process may only lack the settings of that place."""
    there = {copy.place: copy for copy in backup.copies if copy.state in _THERE}
    if place != HERE:
        return Stored(backup, there[place]) if place in there else None
    known = any(copy.good or name in backup.places for name, copy in there.items())
    return None if backup.file_missing and (known or backup.going) else Stored(backup)
