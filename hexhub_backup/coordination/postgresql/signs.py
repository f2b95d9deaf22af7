"""What the link in the host's navigation shows, without a question to the database meanwhile."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from hexhub_backup.coordination.postgresql.tailer import InBackground
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.errors import BackupError

#: Seconds for which what was seen is shown.
_FRESH = 5.0


@dataclass(frozen=True)
class Seen:
    """Whether an operation runs, and how bad it was when somebody last looked at the backups."""

    running: bool = False
    alarm: str | None = None


class Signs:
    """What this process saw last. The request that asks may hold the only connection of the host's
    pool: a thread looks again, and the next page shows what that has found."""

    def __init__(self, operations: sa.Table, alarm: sa.Table, in_background: InBackground) -> None:
        self._operations = operations
        self._alarm = alarm
        self._in_background = in_background
        self._seen = Seen()
        self._next = 0.0

    def seen(self, engine: sa.Engine) -> Seen:
        """What was seen some seconds ago, or when somebody last asked."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _FRESH

            def look() -> None:
                # The next one who asks has it looked for again.
                with suppress(BackupError):
                    self._look(engine)

            with suppress(BackupError):
                self._in_background(look, "signs")
        return self._seen

    def _look(self, engine: sa.Engine) -> None:
        running = sa.exists().where(self._operations.c.state == "running")
        level = sa.select(self._alarm.c.level).scalar_subquery()
        with connected(engine) as connection, transaction(connection):
            self._seen = Seen(*connection.execute(sa.select(running, level)).one())

    def write(self, engine: sa.Engine, level: str | None) -> None:
        """Say how bad it is, where that is not what is written. Raises DatabaseError."""
        add = insert(self._alarm).values(number=1, level=level)
        written = self._alarm.c.level
        add = add.on_conflict_do_update(
            index_elements=[self._alarm.c.number],
            set_={written: level},
            where=written.is_distinct_from(level),
        )
        with connected(engine) as connection, transaction(connection):
            connection.execute(add)
