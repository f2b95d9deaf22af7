"""What our tables hold, counted: for metrics and for the state of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, case, func, or_, select

from hexhub_backup.history.models import COPIED, MISSING
from hexhub_backup.history.tables import backups, copies, operations
from hexhub_backup.history.transactions import GetEngine, begin

_DAMAGED = and_(backups.c.state == "completed", backups.c.intact.is_(False))
_CHANGED = and_(backups.c.changed_files > 0, backups.c.acknowledged_at.is_(None))
_WRONG = select(
    backups.c.id,
    backups.c.created_at,
    _DAMAGED.label("damaged"),
    case((_CHANGED, backups.c.changed_files), else_=0).label("changed_files"),
).where(or_(_DAMAGED, _CHANGED))
_REHEARSED = (
    select(backups.c.id, backups.c.rehearsed_at, backups.c.restorable)
    .where(backups.c.rehearsed_at.is_not(None), backups.c.origin.is_(None))
    .order_by(backups.c.rehearsed_at.desc())
    .limit(1)
)

# By the index of the states: few operations fail.
_FAILED = (
    select(operations.c.finished_at, operations.c.reason)
    .where(
        operations.c.state == "failed",
        operations.c.verb == bindparam("verb"),
        operations.c.finished_at.is_not(None),
    )
    .order_by(operations.c.finished_at.desc())
    .limit(1)
)


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
class WrongBackup:
    """A backup that is `damaged`, or in which so many package files have changed of which nobody
    has said that they know why."""

    id: str
    damaged: bool
    changed_files: int


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
    """The last rehearsal of a backup of this registry. Raises DatabaseError."""
    with begin(engine) as connection:
        row = connection.execute(_REHEARSED).first()
    return None if row is None else LastRehearsal(*row)


def last_failure(engine: GetEngine, verb: str) -> str | None:
    """Why the last operation of a verb failed; None where it did not. Raises DatabaseError."""
    with begin(engine) as connection:
        failed = connection.execute(_FAILED, {"verb": verb}).first()
        if failed is None:
            return None
        later = select(operations.c.id).where(
            operations.c.verb == verb, operations.c.finished_at > failed.finished_at
        )
        return None if connection.execute(later.limit(1)).first() else failed.reason


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


def wrong_backups(engine: GetEngine) -> list[WrongBackup]:
    """The oldest first. Raises DatabaseError."""
    with begin(engine) as connection:
        rows = connection.execute(_WRONG).all()
    # An order in the statement has SQLite read all backups by the index of that.
    rows = sorted(rows, key=lambda row: (row.created_at, row.id))
    return [WrongBackup(row.id, row.damaged, row.changed_files) for row in rows]
