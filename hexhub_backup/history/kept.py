"""The history as it is asked for: backups and operations, with the files that go with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hexhub_backup import signals
from hexhub_backup.depot.base import Depot
from hexhub_backup.destinations.base import HERE
from hexhub_backup.due import is_ahead
from hexhub_backup.errors import (
    BusyError,
    NotFoundError,
    PruneRefusedError,
    StorageError,
)
from hexhub_backup.history.holding import Holds, held_in
from hexhub_backup.history.lists import (
    ALL_BACKUPS,
    BackupFilter,
    list_backups,
    list_operations,
)
from hexhub_backup.history.models import (
    COPIED,
    COPYING,
    DELETING,
    FAILED,
    MISSING,
    WAITING,
    Backup,
    Copy,
    ListedBackup,
    ListedOperation,
    Operation,
    Who,
)
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.marking import marked
from hexhub_backup.operations import prune
from hexhub_backup.operations.changed import Names, changed_names
from hexhub_backup.retention import Rules

B = TypeVar("B", Backup, ListedBackup)
#: `held` and `expires_at` of a backup in a place, where it is there.
_Hold = dict[str, Any]
#: So many backups are asked for at first, and at a time after them, where the first good ones are
#: enough.
_FIRST, _FEW = 2, 20


@dataclasses.dataclass(frozen=True)
class History:
    """The backups and operations that are remembered, and their files in the depot.
    `rules` are those of the depot, `places` those of each destination that there is."""

    catalog: Catalog
    depot: Depot
    rules: Rules
    places: Mapping[str, Rules]

    @property
    def all_rules(self) -> dict[str, Rules]:
        """The rules of each place, our own first."""
        return {HERE: self.rules, **self.places}

    # backups

    def backup(self, backup: str) -> Backup:
        """Raises NotFoundError."""
        return self._with_holds(self._with_files([self.catalog.backup(backup)]))[0]

    def backups(
        self, wanted: BackupFilter = ALL_BACKUPS, *, offset: int = 0, limit: int | None = None
    ) -> list[ListedBackup]:
        """Those that are wanted, the latest first unless it says otherwise."""
        listed = list_backups(self.catalog.engine, wanted, offset=offset, limit=limit)
        return self._with_holds(self._with_files(listed))

    def all_backups(self, *, since: datetime | None = None) -> list[ListedBackup]:
        """Those that were made since then, or all, the latest first: without what they contain, and
        without what holds them."""
        copies = self.catalog.copies.since(since)
        return self._as_found(self.catalog.brief_backups(since=since), copies)

    def good_backups(
        self, *, own: bool = False, after: ListedBackup | None = None
    ) -> Iterator[ListedBackup]:
        """Those that a registry could be restored from, or those of them that come `after` another,
        as `newest` reads them. With `own` without those of other registries."""
        completed = self.newest(BackupFilter(state="completed"), after=after)
        return (each for each in completed if each.good and not (own and each.foreign))

    def newest(
        self, wanted: BackupFilter = ALL_BACKUPS, *, after: ListedBackup | None = None
    ) -> Iterator[ListedBackup]:
        """The latest first: read as they are asked for, and without what holds them."""
        last, limit = after, _FIRST
        while page := list_backups(self.catalog.engine, wanted, after=last, limit=limit):
            yield from self._with_files(page)
            last, limit = page[-1], _FEW

    def latest_copies(self) -> dict[str, tuple[ListedBackup, Copy]]:
        """Of each destination that has a good copy of a backup of this registry's, the newest such
        backup that is not dated ahead, with that copy."""
        latest: dict[str, tuple[ListedBackup, Copy]] = {}
        now = utc_now()
        for backup in self.all_backups() if self.places else ():
            if backup.foreign or is_ahead(backup.created_at, now):
                continue
            for copy in backup.good_copies:
                latest.setdefault(copy.place, (backup, copy))
        return latest

    def _with_holds(self, listed: list[B]) -> list[B]:
        """With what holds them: that hangs on those which are newer, and on no other."""
        if not listed:
            return listed
        now, newer = utc_now(), list[ListedBackup]()
        held: dict[str, dict[str, _Hold]] = {}
        for place, rules in self.all_rules.items():
            found = held_in(place, listed, rules, now)
            # The rule `days` asks for no other backup, which would be years of them.
            if found and (rules.counts or any("newest" in names for _, names in found)):
                newer = newer or self.all_backups(since=listed[-1].created_at)
                found = held_in(place, newer, rules, now)
            held[place] = {
                each.id: {
                    "held": names,
                    "expires_at": rules.expires_at(each) if names == ("days",) else None,
                }
                for each, names in found
            }
        return [self._with_hold(backup, held) for backup in listed]

    def _with_hold(self, backup: B, held: Mapping[str, Mapping[str, _Hold]]) -> B:
        def in_place(place: str) -> _Hold:
            return held.get(place, {}).get(backup.id, {})

        copies = tuple(dataclasses.replace(copy, **in_place(copy.place)) for copy in backup.copies)
        of = HERE if backup.elsewhere is None else backup.elsewhere.place
        return dataclasses.replace(backup, **in_place(of), copies=copies)

    def _with_files(self, listed: list[B]) -> list[B]:
        """With their copies, and whether the file here is missing."""
        return self._as_found(listed, self.catalog.copies.of_each([each.id for each in listed]))

    def _as_found(self, listed: list[B], copies: Mapping[str, tuple[Copy, ...]]) -> list[B]:
        readable = self.depot.trouble() is None
        is_here = self.depot.finder([each.id for each in listed if each.state == "completed"])
        return [
            self._with_file(backup, copies.get(backup.id, ()), is_here, readable=readable)
            for backup in listed
        ]

    def _with_file(
        self,
        backup: B,
        copies: tuple[Copy, ...],
        is_here: Callable[[str], bool],
        *,
        readable: bool,
    ) -> B:
        missing = False
        if backup.state == "completed":
            try:
                missing = not (readable and is_here(backup.id))
            except OSError:
                missing, readable = True, False
        backup = dataclasses.replace(
            backup,
            file_missing=missing,
            file_unreadable=missing and not readable,
            copies=copies,
            places=tuple(self.places),
        )
        if (copy := backup.elsewhere) is not None:
            return dataclasses.replace(backup, intact=copy.intact, verified_at=copy.verified_at)
        return backup

    def find(self, name: str) -> tuple[str, str | None]:
        """The name of the archive of a backup's id, or that of an upload or a path, which is no
        backup of ours. Raises NotFoundError, StorageError."""
        try:
            backup = self.backup(name)
        except NotFoundError:
            if self.depot.is_upload(name) and self.depot.is_there(name):
                return name, None
            path = Path(name).absolute()
            if not path.is_file():
                raise NotFoundError(
                    f"There is no backup and no file {name}: look through the list of backups."
                ) from None
            return str(path), None
        if backup.state != "completed":
            raise NotFoundError(
                f"Backup {name} has no archive, because it is {backup.state}: {backup.reason}"
            )
        if backup.elsewhere:
            raise NotFoundError(
                f"Backup {name} is not {self.depot.where}, only in {backup.elsewhere.place}: bring "
                "it back first."
            )
        self._refuse_unreadable(backup)
        if backup.file_missing:
            raise NotFoundError(
                f"The file of backup {name} is missing: {self.depot.archive_name(name)} should be "
                "there. Put it back, or delete the backup."
            )
        return self.depot.archive_name(name), name

    def elsewhere(self, name: str) -> Copy | None:
        """The copy that a backup is read from, where its file is not here; None also for
        what is no id of a backup."""
        try:
            return self.backup(name).elsewhere
        except NotFoundError:
            return None

    def keep(self, backup: str, *, kept: bool = True) -> Backup:
        """Never let a backup expire, or let it again: one of another registry is this one's then.
        Raises NotFoundError."""
        found = self.backup(backup)
        if found.kept is not kept or (found.foreign and not kept):
            anew: dict[str, Any] = {"adopted_at": utc_now()} if found.adopted else {}
            ours = {} if kept else {"origin": None}
            self.catalog.update_backup(backup, kept=kept, **anew, **ours)
        return self.backup(backup)

    def delete(
        self, app: Any, who: Who, backup: str, *, everywhere: bool = False, reason: str = "manual"
    ) -> None:
        """Delete a backup's archive: with its row, unless it has copies. `everywhere` those
        are to go too, by `verbs.delete_copies`, and the row after them; so is what attempts to
        copy it may have left, where there is no other copy. Raises NotFoundError, BusyError where
        it is in use, StorageError."""
        found = self.backup(backup)
        if found.state == "running":
            raise BusyError(f"Backup {backup} is being created: cancel that first.")
        archive = self.depot.archive_name(backup)
        self._refuse_unreadable(found)
        if found.elsewhere and not everywhere:
            raise NotFoundError(
                f"Backup {backup} has no file {self.depot.where}, only copies: delete it "
                "everywhere."
            )
        with self._alone(archive):
            if reason == "expired" and self.backup(backup).kept:
                raise BusyError(f"Backup {backup} is kept by now.")
            was_here = self.depot.is_there(archive)
            if everywhere:
                self._let_copies_go(backup, reason)
            # The row goes last: a file without a row would be adopted.
            self.catalog.update_backup(backup, deleting=True)
            self.depot.remove(archive)
            self._give_up_waiting(backup)
            forgotten = self.forget(backup, reason)
            if not forgotten:
                self.catalog.update_backup(backup, deleting=None)
        # What is elsewhere only is told of when it has gone there.
        if was_here or forgotten:
            self.tell_deleted(app, who, backup, ["here"], reason=reason)

    def _refuse_unreadable(self, backup: Backup) -> None:
        """Raises StorageError where nobody knows whether the file of a backup is there."""
        if backup.file_unreadable:
            name = self.depot.archive_name(backup.id)
            why = self.depot.trouble() or marked(f"{name} can't be read.")
            raise StorageError(f"{why} {self.depot.advice}")

    def _let_copies_go(self, backup: str, reason: str) -> None:
        """Raises BusyError where one is being made."""
        copies = self.catalog.copies.of(backup)
        # All or none: of a backup that stays, no copy goes.
        for copy in sorted(copies, key=lambda copy: copy.state != COPYING):
            if copy.state != DELETING and not self.let_go(copy, reason, but=(COPYING,)):
                raise BusyError(
                    f"Backup {backup} is being copied to {copy.place}: wait for its end, or cancel "
                    "it."
                )

    def let_go(self, copy: Copy, reason: str, *, but: Collection[str]) -> bool:
        """Let a copy be deleted, unless it is in one of these states by now."""
        states = {WAITING, COPYING, COPIED, FAILED, MISSING, DELETING}.difference(but)
        return self.catalog.copies.update(
            copy.backup_id,
            copy.place,
            states=states,
            state=DELETING,
            due_at=None,
            delete_reason=reason,
        )

    def _give_up_waiting(self, backup: str) -> None:
        """What waits to be copied from here never can be."""
        where = self.depot.where
        reason = marked(f"The backup was deleted {where} before this copy was made.")
        for copy in self.catalog.copies.of(backup):
            self.catalog.copies.update(
                backup, copy.place, states=(WAITING,), state=FAILED, reason=reason, due_at=None
            )

    def is_last(self, copy: Copy) -> bool:
        """Whether nothing is left of a backup but this copy, here or elsewhere."""
        others = (each for each in self.catalog.copies.of(copy.backup_id) if each != copy)
        here = self.depot.is_there(self.depot.archive_name(copy.backup_id))
        return not here and all(each.untouched and each.state != DELETING for each in others)

    def forget(self, backup: str, reason: str) -> bool:
        """Delete the row of a backup of which nothing is left, here or elsewhere. Of a copy that
        has failed there may be something: that is to go first. False where the row stays."""
        if self.depot.is_there(self.depot.archive_name(backup)):
            return False
        left = self.catalog.copies.of(backup)
        if any(copy.state in (COPYING, COPIED) for copy in left):
            return False
        to_go = [copy for copy in left if not copy.untouched or copy.state == DELETING]
        for copy in to_go:
            if copy.state != DELETING:
                self.let_go(copy, reason, but=(COPYING, COPIED))
        if to_go:
            return False
        for copy in left:
            self.catalog.copies.remove(backup, copy.place)
        self.depot.kept("contents", backup).remove()
        self.catalog.delete_backup(backup)
        return True

    def tell_deleted(
        self, app: Any, who: Who, backup: str, places: list[str], *, reason: str
    ) -> None:
        """Send `backup_deleted`."""
        signals.emit(
            signals.backup_deleted,
            app,
            backup=backup,
            actor=who.actor,
            address=who.address,
            reason=reason,
            places=places,
        )

    def expired(self, place: str = HERE, *, anyway: bool = False) -> list[str]:
        """The backups that a prune would delete in a place now. Raises PruneRefusedError, where it
        is not to be done `anyway`; nothing is done where the depot can't be read."""
        if (trouble := self.depot.trouble()) is not None:
            raise PruneRefusedError(f"Nothing was deleted. {trouble} {self.depot.advice}")
        rules, now = self.all_rules[place], utc_now()
        held = held_in(place, self.all_backups(), rules, now)
        return prune.expired(held, rules, now, place, anyway=anyway)

    def refusals(self) -> Iterator[prune.Refusal]:
        """Why the next prune would delete nothing, of each place where it would not."""
        now = utc_now()
        days = min(rules.history_days for rules in self.all_rules.values())
        # Nothing younger is against it: a page need not go through a history of years.
        old = self.catalog.brief_backups(until=now - timedelta(days=days))
        if len(old) <= prune.FEW and not any(each.lost for each in self._with_files(old)):
            return
        for place, held in self.held(self.all_rules).items():
            if (why := prune.refusal(held, self.all_rules[place], now, place)) is not None:
                yield why

    def held(self, rules: Mapping[str, Rules]) -> dict[str, Holds]:
        """The backups in each place, the latest first, with what would hold them by some rules;
        see `holding.held_in`."""
        listed, now = self.all_backups(), utc_now()
        return {place: held_in(place, listed, of, now) for place, of in rules.items()}

    # operations

    def operations(self, *, limit: int | None = None) -> list[ListedOperation]:
        """The latest first."""
        return list_operations(self.catalog.engine, limit=limit)

    def changed(self, operation: str) -> dict[str, Names]:
        """The names of what a restore or an undo changed, once it is completed."""
        return changed_names(self.depot.kept("changed", operation).here())

    def undoable(self, operation: Operation) -> bool:
        """Whether an operation changed something, and can be undone."""
        return operation.state == "completed" and self.depot.kept("undo_set", operation.id).exists()

    def has_refused(self, operation: Operation) -> bool:
        """Whether the database refused records of an operation, which another plan can leave
        out."""
        return self.depot.kept("refused", operation.id).exists()

    @contextmanager
    def _alone(self, archive: str) -> Iterator[None]:
        if self.depot.is_there(archive):
            with self.depot.using(archive, alone=True):
                yield
        else:
            yield
