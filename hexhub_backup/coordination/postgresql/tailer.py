"""One look for new events in each process, however many watch."""

from __future__ import annotations

import json
import logging
import select
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from hexhub_backup.coordination.postgresql.log import CHANNEL
from hexhub_backup.coordination.postgresql.session import Session, held
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.errors import BackupError, log_text

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks, where no notification comes first.
_LOOK = 0.25
#: Seconds between two looks at who is alive.
_ALIVE = 2.0
#: Seconds after which a tailer ends that nobody has asked.
_IDLE = 10.0
#: Seconds after an error.
_AFTER_ERROR = 1.0
#: So many of the latest events of an operation are kept in memory, for those who keep up.
_RECENT = 1000
#: So many are read at a time.
_PAGE = 500

#: Runs a function in a thread that the process does not wait for; see `jobs.threads`.
InBackground = Callable[[Callable[[], None], str], None]


class Feed:
    """What a process knows of one operation that somebody watches.

    Its fields are replaced and never changed, so that greenlets and threads of the machine may
    read them without a lock.
    """

    def __init__(self) -> None:
        #: The latest events, the oldest first.
        self.recent: tuple[dict[str, Any], ...] = ()
        #: The seq of the last one; None before the first look.
        self.last_seq: int | None = None
        #: Whether the operation lived, at the last look at that; None before it.
        self.alive: bool | None = None
        self.asked_at = time.monotonic()

    def add(self, events: Sequence[dict[str, Any]]) -> None:
        if events:
            self.recent = (*self.recent, *events)[-_RECENT:]
            self.last_seq = events[-1]["seq"]


class Tailer:
    """Follows the events of the operations that this process watches, in one thread with one
    session, for as long as somebody asks."""

    def __init__(self, events: sa.Table, lock_table: str, in_background: InBackground) -> None:
        self._events = events
        self._lock_table = lock_table
        self._in_background = in_background
        self._feeds: dict[str, Feed] = {}
        self._began: dict[str, object] = {}
        self._engine: sa.Engine | None = None

    def feed(self, engine: sa.Engine, operation: str) -> Feed | None:
        """What is known of an operation from now on; None where this process gets no thread."""
        feed = self._feeds.setdefault(operation, Feed())
        feed.asked_at = time.monotonic()
        self._engine = engine
        me = object()
        if self._began.setdefault("thread", me) is me:
            try:
                self._in_background(self._run, "events")
            except BackupError as error:
                self._began.clear()
                _log.warning("events are looked for by each who watches: %s", error)
                return None
        return feed

    def known_alive(self, operation: str) -> bool | None:
        """Whether an operation that is watched here lives; None where that is not known."""
        feed = self._feeds.get(operation)
        return None if feed is None else feed.alive

    def _run(self) -> None:
        try:
            while self._wanted():
                try:
                    self._follow()
                except OSError as error:
                    _log.warning("new events can't be looked for just now: %s", log_text(error))
                    for feed in list(self._feeds.values()):
                        feed.alive = None
                    time.sleep(_AFTER_ERROR)
        finally:
            self._began.clear()

    def _wanted(self) -> bool:
        """Whether anybody has asked lately. What nobody asks for is forgotten."""
        late = time.monotonic() - _IDLE
        for operation, feed in list(self._feeds.items()):
            if feed.asked_at < late:
                self._feeds.pop(operation, None)
        return bool(self._feeds)

    def _follow(self) -> None:
        """Raises OSError where the session is lost."""
        engine = self._engine
        assert engine is not None  # noqa: S101 (who asks first hands it in)
        session = Session(engine, self._lock_table)
        try:
            raw = _listening(session)
            next_alive = 0.0
            while self._wanted():
                more = self._look(session)
                if time.monotonic() >= next_alive:
                    next_alive = time.monotonic() + _ALIVE
                    self._look_who_lives(session)
                if not more:
                    _wait(raw)
        finally:
            session.close()

    def _look(self, session: Session) -> bool:
        """Whether there may be more by now."""
        table, feeds = self._events, dict(self._feeds)
        for name, feed in feeds.items():
            if feed.last_seq is None:
                # Whoever is a little behind by now finds it here too.
                latest = sa.select(table.c.event).where(table.c.operation_id == name)
                rows = session.execute(latest.order_by(table.c.seq.desc()).limit(_RECENT))
                feed.last_seq = 0
                feed.add([json.loads(row.event) for row in reversed(rows)])
        newer = [
            sa.and_(table.c.operation_id == name, table.c.seq > feed.last_seq)
            for name, feed in feeds.items()
        ]
        if not newer:
            return False
        query = sa.select(table.c.operation_id, table.c.event).where(sa.or_(*newer))
        query = query.order_by(table.c.operation_id, table.c.seq).limit(_PAGE)
        new: dict[str, list[dict[str, Any]]] = {}
        rows = session.execute(query)
        for row in rows:
            new.setdefault(row.operation_id, []).append(json.loads(row.event))
        for name, events in new.items():
            feeds[name].add(events)
        return len(rows) == _PAGE

    def _look_who_lives(self, session: Session) -> None:
        feeds = dict(self._feeds)
        if feeds:
            lives = {row[0] for row in session.execute(held(map(life, feeds), self._lock_table))}
            for name, feed in feeds.items():
                feed.alive = life(name) in lives


def life(operation: str) -> str:
    """The name that whoever runs an operation has locked."""
    return f"operation {operation}"


def _listening(session: Session) -> Any:
    """The driver's connection, which becomes readable when there are new events; None where the
    driver has no way to wait for that."""
    raw: Any = session.connection.connection.driver_connection
    if not hasattr(raw, "fileno"):
        return None
    if hasattr(raw, "add_notify_handler"):
        # psycopg keeps them for later where nobody takes them.
        raw.add_notify_handler(lambda _: None)
    session.execute(sa.text(f"LISTEN {CHANNEL}"))
    return raw


def _wait(raw: Any) -> None:
    """Until there may be new events: the next statement reads the notification."""
    if raw is None:
        time.sleep(_LOOK)
        return
    try:
        select.select([raw], [], [], _LOOK)
    except ValueError:
        # It is closed, or its number is one that `select` does not take.
        time.sleep(_LOOK)
    if (notifies := getattr(raw, "notifies", None)) is not None and isinstance(notifies, list):
        notifies.clear()


class DatabaseTail:
    """Reads on in the events of an operation; see `Tail`. What was there before is read from the
    table, once for each who watches; what comes is seen once for all of them."""

    def __init__(
        self, tailer: Tailer, engine: sa.Engine, events: sa.Table, operation: str, after: int
    ) -> None:
        self._tailer = tailer
        self._engine = engine
        self._events = events
        self._operation = operation
        self._after = after
        self._read_before = False

    def read(self) -> Iterator[dict[str, Any]]:
        """The events that have come since. Raises DatabaseError."""
        if not self._read_before:
            self._read_before = True
            yield from self._from_table()
            return
        feed = self._tailer.feed(self._engine, self._operation)
        if feed is None:
            yield from self._from_table()
            return
        recent, last_seq = feed.recent, feed.last_seq
        if last_seq is None or last_seq <= self._after:
            return
        if not recent or recent[0]["seq"] > self._after + 1:
            # Whoever lags behind, or has begun before the first look, reads them again.
            yield from self._from_table()
            return
        for event in recent:
            if event["seq"] > self._after:
                self._after = event["seq"]
                yield event

    def _from_table(self) -> Iterator[dict[str, Any]]:
        table = self._events
        while True:
            query = sa.select(table.c.event).where(
                table.c.operation_id == self._operation, table.c.seq > self._after
            )
            with connected(self._engine) as connection, transaction(connection):
                rows = connection.execute(query.order_by(table.c.seq).limit(_PAGE)).all()
            for row in rows:
                event: dict[str, Any] = json.loads(row.event)
                self._after = event["seq"]
                yield event
            if len(rows) < _PAGE:
                return

    @property
    def removed(self) -> bool:
        """Never: what is deleted with its operation is not found by whoever asks for that."""
        return False

    def __enter__(self) -> DatabaseTail:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""
