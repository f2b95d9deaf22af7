"""Prune: which backups have expired, and may go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from hexhub_backup import formatting
from hexhub_backup.destinations.base import HERE
from hexhub_backup.errors import PruneRefusedError
from hexhub_backup.marking import marked
from hexhub_backup.retention import B, Rules

STEPS = ("delete_remains", "delete_backups")

#: How somebody says that all is as it should be.
_ANYWAY = marked("run 'flask backups prune --anyway'")
#: So many go whatever share of the whole they are.
FEW = 3


class Refusal(NamedTuple):
    """Why a prune deletes nothing in a place, and what to do now."""

    text: str
    action: str


def refusal(
    found: Sequence[tuple[B, tuple[str, ...]]], rules: Rules, now: datetime, place: str = HERE
) -> Refusal | None:
    """Why nothing may be deleted in a place at `now`; `found` is what `retention.held_by` gives of
    all that are there, by these rules. None where nothing is against it.

    Where most of the good backups would go at once because they are too old, a clock may have
    jumped. Where the file of one that would go is gone, and no file is there that is as old, the
    disk may not be mounted: rows would go whose files come back with it.
    """
    due = [backup for backup, held in found if not held]
    going = sum(backup.good for backup in due)
    good = sum(backup.good and not backup.foreign for backup, _ in found)
    # Rules that count go by what is there, whatever a clock says.
    if rules.days and going > FEW and 2 * going > good:
        at = f"{now:%Y-%m-%d %H:%M} UTC"
        if place == HERE:
            text = marked(
                f"{going} of {good} backups have expired by the clock of this machine, which says "
                f"{at}."
            )
        else:
            text = marked(
                f"{going} of {good} copies in {place} have expired by the clock of this machine, "
                f"which says {at}."
            )
        return Refusal(text, marked(f"Set the clock. If it is right, {_ANYWAY}."))
    lost = [backup.created_at for backup in due if backup.lost]
    there = (each for each, _ in found if each.state == "completed" and not each.lost)
    if lost and not any(each.created_at <= max(lost) for each in there):
        text = formatting.plural(
            len(lost),
            "The file of {count} backup that has expired is gone, and no file that old is there: a "
            "disk may not be mounted, or the settings may name another place.",
            "The files of {count} backups that have expired are gone, and no file that old is "
            "there: a disk may not be mounted, or the settings may name another place.",
        )
        action = marked(f"Check that. If the files are lost for good, {_ANYWAY}.")
        return Refusal(text, action)
    return None


def expired(
    found: Sequence[tuple[B, tuple[str, ...]]],
    rules: Rules,
    now: datetime,
    place: str = HERE,
    *,
    anyway: bool = False,
) -> list[str]:
    """The ids of the backups that may be deleted in a place, the oldest first: never the newest
    good one, and none that is kept. Arguments are those of `refusal`; raises PruneRefusedError for
    one, unless it is to be done `anyway`."""
    if not anyway and (why := refusal(found, rules, now, place)) is not None:
        raise PruneRefusedError(f"{why.text} Nothing was deleted. {why.action}")
    return [backup.id for backup, held in reversed(found) if not held]
