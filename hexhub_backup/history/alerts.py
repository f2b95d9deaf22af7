"""The alerts that are active: one row each, claimed by whoever tells of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update

from hexhub_backup.history.tables import alerts
from hexhub_backup.history.transactions import GetEngine, add_new, begin


@dataclass(frozen=True, kw_only=True)
class ActiveAlert:
    """A problem that somebody is told of. `code` is that of the problem, `text` what was told
    last, `began_at` when the problem was first seen, `tell_at` when to tell of it again. `event` is
    what has to be told, and could not be in so many `attempts`; None where all was told."""

    code: str
    text: str
    began_at: datetime
    tell_at: datetime
    event: str | None = None
    attempts: int = 0


@dataclass(frozen=True)
class ActiveAlerts:
    """The rows. Of several processes that see the same, one gets True, and tells of it. Every
    method is one short transaction. Raises DatabaseError."""

    engine: GetEngine

    def all(self) -> dict[str, ActiveAlert]:
        """By their codes."""
        with begin(self.engine) as connection:
            rows = connection.execute(select(alerts)).all()
        return {row.code: ActiveAlert(**row._mapping) for row in rows}

    def add(self, alert: ActiveAlert) -> bool:
        """Add one that began. False where another process has."""
        return add_new(self.engine, alerts, dataclasses.asdict(alert))

    def change(self, alert: ActiveAlert, to: ActiveAlert) -> bool:
        """Replace what was read. False where it was told of, or ended, since."""
        query = update(alerts).where(*_as_read(alert)).values(**dataclasses.asdict(to))
        with begin(self.engine) as connection:
            return connection.execute(query).rowcount == 1

    def end(self, alert: ActiveAlert) -> None:
        """Remove one that is over, unless it was told of since it was read."""
        with begin(self.engine) as connection:
            connection.execute(delete(alerts).where(*_as_read(alert)))


def _as_read(alert: ActiveAlert) -> tuple[ColumnElement[bool], ...]:
    return alerts.c.code == alert.code, alerts.c.tell_at == alert.tell_at
