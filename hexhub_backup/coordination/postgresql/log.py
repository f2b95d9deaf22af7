"""The kept events of an operation as rows of a table."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from hexhub_backup.coordination.postgresql.session import Session
from hexhub_backup.operations.progress import Event

#: On which processes are told that an operation has new events.
CHANNEL = "hexhub_backup_events"
#: Seconds between two writes: a watcher sees no more. A little less than between two events of
#: progress, as one that comes too early has to wait for the next.
_PAUSE = 0.09
#: So many events are kept back at most.
_MOST = 500
#: What is never kept back, if that was not written just now.
_URGENT = ("state", "step", "result")


class DatabaseLog:
    """The events of one operation, open for appending; see `Log`.

    They are written by the session whose lock is the life of the operation, outside of every
    transaction of the operation's. Events that come fast are written together.
    """

    def __init__(
        self, session: Session, events: sa.Table, operation: str, closed: Callable[[], object]
    ) -> None:
        """The session is closed with the log, and `closed` called then. Raises OSError."""
        self.session = session
        self._events = events
        self._operation = operation
        self._closed = closed
        self._buffer: list[dict[str, Any]] = []
        self._next = 0.0
        mine = events.c.operation_id == operation
        last = sa.select(sa.func.max(events.c.seq)).where(mine)
        self.last_seq: int = session.execute(last)[0][0] or 0
        result = sa.select(events.c.event).where(mine, events.c.type == "result")
        found = session.execute(result.order_by(events.c.seq.desc()).limit(1))
        #: The event that tells how the operation ended, if it has.
        self.result: dict[str, Any] | None = json.loads(found[0].event) if found else None

    def append(self, event: Event) -> None:
        """Keep an event. Raises OSError where that, or one before it, could not be written: the
        session is lost then."""
        if self.session.lost:
            raise OSError(errno.EIO, "The connection to the database was lost.")
        self._buffer.append(
            {
                "operation_id": self._operation,
                "seq": event["seq"],
                "type": event["type"],
                # A name of a file may be no text: no watcher could be told of it.
                "event": json.dumps(event, ensure_ascii=False).encode(errors="replace").decode(),
            }
        )
        urgent = event["type"] in _URGENT or len(self._buffer) >= _MOST
        if urgent or time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Write what was kept back. Raises OSError."""
        if self._buffer:
            rows, self._buffer = self._buffer, []
            self._next = time.monotonic() + _PAUSE
            self.session.execute(_added(self._events, self._operation, rows))

    def close(self) -> None:
        try:
            if not self.session.lost:
                self.flush()
        except OSError:
            # What was lost is told by the rows.
            pass
        finally:
            self._closed()
            self.session.close()

    def __enter__(self) -> DatabaseLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _added(
    events: sa.Table, operation: str, rows: Sequence[dict[str, Any]]
) -> sa.Select[tuple[Any]]:
    """One statement that adds the rows, and tells whoever listens."""
    added = sa.insert(events).values(rows).returning(events.c.seq).cte("added")
    return sa.select(sa.func.pg_notify(CHANNEL, operation)).add_cte(added)
