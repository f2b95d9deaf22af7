"""What our tables hold, counted: for metrics and for the state of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from hexhub_backup.history.models import COPIED, MISSING
from hexhub_backup.history.tables import backups, copies, operations
from hexhub_backup.history.transactions import GetEngine, begin


@dataclass(frozen=True)
class OperationCount:
    """The remembered operations of one verb in one state; `finished_at` is that of the last one,
    and `duration_seconds` the time it took, None where none has ended."""

    verb: str
    state: str
    count: int
    finished_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True)
class BackupCount:
    """The backups of one state whose last check had one result, None where there was none;
    `verified_at` is the time of the last check."""

    state: str
    intact: bool | None
    count: int
    verified_at: datetime | None


@dataclass(frozen=True)
class CopyCount:
    """The copies in one place that are there and had one result of their last check, None where
    there was none, or that are `missing`; `verified_at` is the longest ago that one of them was
    verified."""

    place: str
    missing: bool
    intact: bool | None
    count: int
    verified_at: datetime | None

    @property
    def lost(self) -> bool:
        """Whether they are damaged, or gone."""
        return self.missing or self.intact is False


@dataclass(frozen=True)
class LastRehearsal:
    """The backup that was rehearsed last, when, and whether all of it came back."""

    backup: str
    rehearsed_at: datetime
    restorable: bool


def last_rehearsal(engine: GetEngine) -> LastRehearsal | None:
    """The last rehearsal of any backup that is remembered. Raises DatabaseError."""
    query = (
        select(backups.c.id, backups.c.rehearsed_at, backups.c.restorable)
        .where(backups.c.rehearsed_at.is_not(None))
        .order_by(backups.c.rehearsed_at.desc())
        .limit(1)
    )
    with begin(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else LastRehearsal(*row)


def last_failure(engine: GetEngine, verb: str) -> str | None:
    """Why the last operation of a verb failed; None where it did not. Raises DatabaseError."""
    query = (
        select(operations.c.state, operations.c.reason)
        .where(operations.c.verb == verb, operations.c.finished_at.is_not(None))
        .order_by(operations.c.finished_at.desc())
        .limit(1)
    )
    with begin(engine) as connection:
        row = connection.execute(query).first()
    return row.reason if row is not None and row.state == "failed" else None


def count_operations(engine: GetEngine) -> list[OperationCount]:
    """By verb and state. Raises DatabaseError."""
    last = (
        select(
            operations.c.verb,
            operations.c.state,
            func.count().label("count"),
            func.max(operations.c.finished_at).label("finished_at"),
        )
        .group_by(operations.c.verb, operations.c.state)
        .subquery()
    )
    # Two that ended in the same microsecond are one line all the same.
    duration = (
        select(func.max(operations.c.duration_seconds))
        .where(
            operations.c.verb == last.c.verb,
            operations.c.state == last.c.state,
            operations.c.finished_at == last.c.finished_at,
        )
        .scalar_subquery()
        .label("duration_seconds")
    )
    query = select(*last.c, duration).order_by(last.c.verb, last.c.state)
    with begin(engine) as connection:
        return [OperationCount(**row._mapping) for row in connection.execute(query)]


def count_backups(engine: GetEngine) -> list[BackupCount]:
    """By state and by the result of the last check. Raises DatabaseError."""
    query = (
        select(backups.c.state, backups.c.intact, func.count(), func.max(backups.c.verified_at))
        .group_by(backups.c.state, backups.c.intact)
        .order_by(backups.c.state, backups.c.intact)
    )
    with begin(engine) as connection:
        return [BackupCount(*row) for row in connection.execute(query)]


def count_copies(engine: GetEngine) -> list[CopyCount]:
    """By place, and by the result of the last check; without those of other registries. Raises
    DatabaseError."""
    known = (copies.c.place, copies.c.state, copies.c.intact)
    query = (
        select(*known, func.count(), func.min(copies.c.verified_at))
        .join_from(copies, backups, backups.c.id == copies.c.backup_id)
        .where(copies.c.state.in_((COPIED, MISSING)), backups.c.origin.is_(None))
        .group_by(*known)
        .order_by(*known)
    )
    with begin(engine) as connection:
        return [
            CopyCount(place, state == MISSING, *more)
            for place, state, *more in connection.execute(query)
        ]


def changed_unacknowledged(engine: GetEngine) -> dict[str, int]:
    """How many package files have changed in each backup of which nobody has said that they know
    why, the oldest first. Raises DatabaseError."""
    query = (
        select(backups.c.id, backups.c.changed_files)
        .where(backups.c.changed_files > 0, backups.c.acknowledged_at.is_(None))
        .order_by(backups.c.created_at, backups.c.id)
    )
    with begin(engine) as connection:
        return {row.id: row.changed_files for row in connection.execute(query)}
