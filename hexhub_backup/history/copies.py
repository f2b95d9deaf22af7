"""The queries on the table of copies: one row for each backup and place."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, delete, or_, select, update

from hexhub_backup.due import every, is_due
from hexhub_backup.history.models import COPIED, COPYING, DELETING, FAILED, MISSING, WAITING, Copy
from hexhub_backup.history.tables import backups, copies
from hexhub_backup.history.transactions import GetEngine, add_new, begin

#: How long a copy that is due is left to whoever has been told of it, and may die before it begins.
_LEASE = timedelta(minutes=5)
#: No copy is put off for longer.
_LONGEST = timedelta(days=1)
#: Ids in one statement: databases take so many parameters.
_MANY = 500
_ALL = select(copies).order_by(copies.c.place)
#: Built once: that takes longer than to carry it out.
_OF_EACH = _ALL.where(copies.c.backup_id.in_(bindparam("ids", expanding=True)))


class Copies:
    """The copies that are remembered. Every method is one short transaction. Raises
    DatabaseError."""

    def __init__(self, engine: GetEngine) -> None:
        self._engine = engine

    def of(self, backup: str) -> list[Copy]:
        """Those of one backup, by the names of the places."""
        return [*self.of_each([backup]).get(backup, ())]

    def of_each(self, ids: Sequence[str]) -> dict[str, tuple[Copy, ...]]:
        """Those of some backups, by their ids."""
        found: dict[str, tuple[Copy, ...]] = {}
        for at in range(0, len(ids), _MANY):
            found |= _grouped(self._all(_OF_EACH, ids=ids[at : at + _MANY]))
        return found

    def since(self, moment: datetime | None) -> dict[str, tuple[Copy, ...]]:
        """Those of the backups that were made since then, or of all, by their ids."""
        query = _ALL
        if moment is not None:
            query = query.join(backups, backups.c.id == copies.c.backup_id)
            query = query.where(backups.c.created_at >= moment)
        return _grouped(self._all(query))

    def _all(self, query: Select[Any], **given: Any) -> Sequence[Row[Any]]:
        with begin(self._engine) as connection:
            return connection.execute(query, given).all()

    def add(self, copy: Copy) -> bool:
        """False where there is one of this backup and place."""
        return add_new(self._engine, copies, copy_values(copy))

    def want(self, backup: str, place: str, now: datetime) -> bool:
        """Let a copy be due now, once more where it has failed, is missing or is damaged. False
        where it is there, is being made or is to be deleted."""
        waits: dict[str, Any] = {"state": WAITING, "ordered_at": now, "due_at": now, "attempts": 0}
        if self.add(Copy(backup_id=backup, place=place, **waits)):
            return True
        again = or_(
            copies.c.state.in_((WAITING, FAILED, MISSING)),
            and_(copies.c.state == COPIED, copies.c.intact.is_(False)),
        )
        query = update(copies).where(_is(backup, place), again).values(**waits)
        with begin(self._engine) as connection:
            return connection.execute(query).rowcount == 1

    def take_due(self, places: Collection[str], now: datetime) -> list[Copy]:
        """The copies to begin with: the newest that is due at each of these places. Each is told to
        one caller only, and is due again where that one does not begin it."""
        query = select(copies).where(copies.c.state == WAITING)
        query = query.order_by(copies.c.ordered_at.desc(), copies.c.backup_id.desc())
        with begin(self._engine) as connection:
            rows = [_copy(row) for row in connection.execute(query)]
        free, taken = {*places}, list[Copy]()
        for copy in rows:
            is_for_now = copy.due_at and is_due(copy.due_at, every(_LONGEST), now)
            if is_for_now and copy.place in free:
                # Also where somebody else was quicker: that one has something to make there.
                free.remove(copy.place)
                if self._take(copy, due_at=now + _LEASE):
                    taken.append(copy)
        return taken

    def next_due(self, places: Collection[str]) -> datetime | None:
        """When the next copy to one of these places is due."""
        query = select(copies.c.due_at).where(
            copies.c.state == WAITING, copies.c.place.in_([*places])
        )
        with begin(self._engine) as connection:
            return connection.execute(query.order_by(copies.c.due_at).limit(1)).scalar()

    def _take(self, copy: Copy, *, due_at: datetime) -> bool:
        query = update(copies).where(_is(copy.backup_id, copy.place), copies.c.state == WAITING)
        with begin(self._engine) as connection:
            done = connection.execute(
                query.where(copies.c.due_at == copy.due_at).values(due_at=due_at)
            )
            return done.rowcount == 1

    def claim(self, backup: str, place: str, operation: str) -> bool:
        """Let an operation make a copy that waits. False where another one does."""
        return self.update(
            backup, place, states=(WAITING,), state=COPYING, operation_id=operation, due_at=None
        )

    def update(
        self,
        backup: str,
        place: str,
        *,
        states: Collection[str] | None = None,
        operation: str | EllipsisType | None = ...,
        **values: Any,
    ) -> bool:
        """False where there is no such copy, or it is in none of the `states`, or is not that of
        the `operation`: None is for one that was found, `...` for any."""
        query = update(copies).where(_is(backup, place))
        if states is not None:
            query = query.where(copies.c.state.in_(states))
        if operation is not ...:
            query = query.where(copies.c.operation_id.is_not_distinct_from(operation))
        with begin(self._engine) as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def remove(self, backup: str, place: str) -> None:
        """Forget a copy that is not there any more."""
        with begin(self._engine) as connection:
            connection.execute(delete(copies).where(_is(backup, place)))

    def remove_deleted(self, copy: Copy, *, last: bool) -> bool:
        """Forget a copy that was deleted; with the `last` one its backup is being deleted, whose
        row is to go next. False where it was made anew meanwhile, or is not to go any more."""
        gone = delete(copies).where(
            _is(copy.backup_id, copy.place),
            copies.c.state == DELETING,
            copies.c.operation_id.is_not_distinct_from(copy.operation_id),
        )
        with begin(self._engine) as connection:
            removed = connection.execute(gone).rowcount == 1
            if removed and last:
                backup = update(backups).where(backups.c.id == copy.backup_id)
                connection.execute(backup.values(deleting=True))
            return removed

    def going(self, backup: str) -> list[Copy]:
        """Those of a backup that are to go."""
        return [copy for copy in self.of(backup) if copy.state == DELETING]

    def to_delete(self) -> list[Copy]:
        """Those that are to go."""
        return [_copy(row) for row in self._all(_ALL.where(copies.c.state == DELETING))]


def copy_values(copy: Copy) -> dict[str, Any]:
    """The row of a copy."""
    values = {**dataclasses.asdict(copy), "recipients": list(copy.recipients)}
    return {column.name: values[column.name] for column in copies.c}


def _is(backup: str, place: str) -> ColumnElement[bool]:
    return and_(copies.c.backup_id == backup, copies.c.place == place)


def _copy(row: Row[Any]) -> Copy:
    values = dict(row._mapping)
    return Copy(**{**values, "recipients": tuple(values["recipients"])})


def _grouped(rows: Sequence[Row[Any]]) -> dict[str, tuple[Copy, ...]]:
    found: dict[str, tuple[Copy, ...]] = {}
    for copy in map(_copy, rows):
        found[copy.backup_id] = (*found.get(copy.backup_id, ()), copy)
    return found
