"""The next run of each thing that is done by the clock: one row, claimed by one UPDATE."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Update, delete, select, update

from hexhub_backup.history.tables import schedule
from hexhub_backup.history.transactions import GetEngine, add_new, begin

#: The name of the run that makes a backup by schedule.
BACKUP = "backup"
#: The name of the look for what has to be read again.
VERIFICATION = "verification"
#: The name of the run that tries a restore.
REHEARSAL = "rehearsal"
_ALL = select(schedule)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The next run of `name`: due at `due_at` by what `spec` says.

    `try_at` is when it is looked at next, where that is later: another operation ran, or it was
    claimed. `operation_id` is the operation that it becomes, once it was claimed.
    """

    name: str
    spec: str | None
    due_at: datetime
    try_at: datetime | None = None
    operation_id: str | None = None

    @property
    def acts_at(self) -> datetime:
        """When something is to be done for it."""
        return self.due_at if self.try_at is None else max(self.due_at, self.try_at)


@dataclass(frozen=True)
class Runs:
    """The rows. Whoever changes one says what it has read: of several who do so at once, one
    does. Every method is one short transaction. Raises DatabaseError."""

    engine: GetEngine

    def all(self) -> dict[str, Run]:
        """By their names."""
        with begin(self.engine) as connection:
            rows = connection.execute(_ALL).all()
        return {row.name: Run(**row._mapping) for row in rows}

    def add(self, run: Run) -> None:
        """Add one that is not there, or was added meanwhile."""
        add_new(self.engine, schedule, dataclasses.asdict(run))

    def change(self, run: Run, to: Run) -> bool:
        """Replace what was read. False where somebody has changed it since."""
        with begin(self.engine) as connection:
            values = dataclasses.asdict(to)
            return connection.execute(_as_read(run).values(**values)).rowcount == 1

    def remove(self, name: str) -> None:
        with begin(self.engine) as connection:
            connection.execute(delete(schedule).where(schedule.c.name == name))


def _as_read(run: Run) -> Update:
    query = update(schedule)
    for name, value in dataclasses.asdict(run).items():
        column = schedule.c[name]
        query = query.where(column.is_(None) if value is None else column == value)
    return query
