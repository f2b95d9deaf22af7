"""What the rules of each place do: backups and copies go that nothing holds, and none is made there
that nothing would hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from hexhub_backup.destinations.base import HERE
from hexhub_backup.errors import BusyError, NotFoundError, NotHeldError
from hexhub_backup.history.holding import held_in, stored
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import (
    COPIED,
    COPYING,
    FAILED,
    WAITING,
    Backup,
    Copy,
    ListedBackup,
    Who,
)
from hexhub_backup.history.store import utc_now


def expire(history: History, app: Any, who: Who, backup: str) -> None:
    """Delete a backup that has expired on this server; where it is nowhere, all that is left of it.
    Raises as `History.delete`, and BusyError where it is kept by now."""
    found = history.backup(backup)
    lost = found.file_missing and stored(found, HERE) is not None
    history.delete(app, who, backup, everywhere=lost, reason="expired")


def expire_copy(history: History, backup: str, place: str) -> None:
    """Let a copy that has expired be deleted, by `verbs.delete_copies`. Raises NotFoundError, and
    BusyError where it is in use, or is kept by now."""
    if history.catalog.backup(backup).kept:
        raise BusyError(f"Backup {backup} is kept by now.")
    for each in history.catalog.unfinished_operations():
        if (each.backup_id, each.options.get("place")) == (backup, place):
            raise BusyError(f"The {each.verb} {each.id} uses the copy in {place}.")
    copies = (copy for copy in history.catalog.copies.of(backup) if copy.place == place)
    if not any(history.let_go(copy, "expired", but=(WAITING, COPYING, FAILED)) for copy in copies):
        raise BusyError(f"The copy in {place} is made anew.")


def want_copy(history: History, backup: str, place: str) -> bool:
    """Let a copy be due now; see `Copies.want`. Raises NotFoundError, and NotHeldError where the
    next prune would delete it."""
    found = history.backup(backup)
    if any(copy.good for copy in found.copies if copy.place == place):
        return False
    if not _would_hold(history, found, place):
        raise NotHeldError(
            f"Backup {backup} is not copied to {place}: its rules hold no copy of it, so that the "
            "next clean-up would delete that. Keep the backup, or change the rules."
        )
    return history.catalog.copies.want(backup, place, utc_now())


def drop_unheld(history: History, copy: Copy) -> bool:
    """Give up a copy that waits where the rules of its place would not hold it. False where it is
    to be made."""
    with suppress(NotFoundError):
        if _would_hold(history, history.backup(copy.backup_id), copy.place):
            return False
    if copy.untouched:
        history.catalog.copies.remove(copy.backup_id, copy.place)
    else:
        # An attempt may have left something.
        history.let_go(copy, "expired", but=(COPYING, COPIED))
    return True


def held_again(history: History, place: str, going: list[Copy]) -> set[str]:
    """The backups whose expired copies are to go from a place, but which its rules would hold now:
    one is kept by now, or a newer one was found damaged."""
    if not going or place not in history.all_rules:
        return set()
    made = {each.backup_id: dataclasses.replace(each, state=COPIED) for each in going}
    return _held_if(history, place, made, history.all_backups())


def _would_hold(history: History, backup: Backup, place: str) -> bool:
    """Whether the rules of a place would hold a copy that was made there now."""
    made = Copy(backup_id=backup.id, place=place, state=COPIED, ordered_at=utc_now())
    known = history.all_backups(since=backup.created_at)
    return bool(_held_if(history, place, {backup.id: made}, known))


def _held_if(
    history: History, place: str, made: Mapping[str, Copy], known: Iterable[ListedBackup]
) -> set[str]:
    """The backups of which the rules of a place would hold these copies, were they there."""
    there = [
        dataclasses.replace(each, copies=(made[each.id],)) if each.id in made else each
        for each in known
    ]
    held = held_in(place, there, history.all_rules[place], utc_now())
    return {each.id for each, names in held if each.id in made and names not in ((), ("locked",))}
