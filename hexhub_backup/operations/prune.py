"""Prune: which backups have expired, and may go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from hexhub_backup.errors import PruneRefusedError

STEPS = ("delete_remains", "delete_backups")

#: So many go whatever share of the whole they are.
_FEW = 3


class Expiring(Protocol):
    """What the rule needs to know of a backup."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def kept(self) -> bool: ...
    @property
    def intact(self) -> bool | None: ...
    @property
    def file_missing(self) -> bool: ...


def expired(backups: Sequence[Expiring], now: datetime) -> list[str]:
    """The ids of the backups that may be deleted at `now`, the oldest first.

    Never the newest good one, and none that is kept. Where most of the good backups would go at
    once, a clock may have jumped: raises PruneRefusedError, and nothing is deleted.
    """
    good = [
        backup
        for backup in backups
        if backup.state == "completed" and backup.intact is not False and not backup.file_missing
    ]
    newest = max(good, key=lambda backup: backup.created_at, default=None)
    due = sorted(
        (
            backup
            for backup in backups
            if backup is not newest
            and backup.state != "running"
            and not backup.kept
            and backup.expires_at is not None
            and backup.expires_at <= now
        ),
        key=lambda backup: backup.created_at,
    )
    good_ids = {backup.id for backup in good}
    going = [backup for backup in due if backup.id in good_ids]
    if len(going) > _FEW and 2 * len(going) > len(good):
        raise PruneRefusedError(
            f"{len(going)} of {len(good)} backups have expired by the clock of this machine, "
            f"which says {now:%Y-%m-%d %H:%M} UTC: nothing was deleted. If the clock is right, "
            "delete by hand what is not needed."
        )
    return [backup.id for backup in due]
