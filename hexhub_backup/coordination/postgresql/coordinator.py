"""Coordination by PostgreSQL: its advisory locks, and tables of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hexhub_backup import formatting
from hexhub_backup.coordination.base import OPERATION, Lock, Log
from hexhub_backup.coordination.lock import runs_already
from hexhub_backup.coordination.postgresql.log import DatabaseLog
from hexhub_backup.coordination.postgresql.session import Session, held
from hexhub_backup.coordination.postgresql.signs import Signs
from hexhub_backup.coordination.postgresql.tailer import DatabaseTail, InBackground, Tailer, life
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.errors import BusyError, InterruptedOperationError, SettingError

#: Seconds. A server notices within moments that a process was killed, and until then holds its
#: locks; who looks after what dead processes left is waited for.
_PATIENCE = 10.0
#: Seconds between two looks for a wish to cancel.
_WISH = 0.5
_LOST = (
    "The connection to the database that held its lock was lost, so that another process may have "
    "taken it over: nothing is changed any more. Start again."
)


@dataclass(frozen=True)
class CoordinationTables:
    """Of ours: the operations, their events, and the alarm."""

    operations: sa.Table
    events: sa.Table
    alarm: sa.Table


class PostgreSQLCoordinator:
    """See `Coordinator`. The life of an operation is a session on the server, by which its events
    are written and its locks are held: it dies with its process, and within half a minute with its
    machine."""

    def __init__(
        self,
        engine: Callable[[], sa.Engine],
        tables: CoordinationTables,
        in_background: InBackground,
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._logs: dict[str, DatabaseLog] = {}
        self._next_wish: dict[str, float] = {}
        self._tailer = Tailer(tables.events, tables.operations.name, in_background)
        self._signs = Signs(tables.operations, tables.alarm, in_background)

    def prepare(self) -> None:
        with closing(self._session()) as one, closing(self._session()) as other:
            pids = {session.pid() for session in (one, other, one, other)}
        if len(pids) != 2:
            raise SettingError(
                "A pooler stands before the database, and gives a connection to whoever asks next "
                "(PgBouncer with pool_mode = transaction): a lock would be nobody's. Let the app "
                "reach the server itself, or a pool with pool_mode = session."
            )

    # who is at work

    @contextmanager
    def exclusive(self, only: str = OPERATION, *, log: Log | None = None) -> Iterator[Lock]:
        if isinstance(log, DatabaseLog):
            # It goes with the session, when the log is closed.
            self._take(log.session, only)
            yield _Named()
            return
        with closing(self._session()) as session:
            self._take(session, only)
            yield _Named()

    def _take(self, session: Session, only: str) -> None:
        """Raises BusyError."""
        patience = time.monotonic() + _PATIENCE
        while not self._has_taken(session, only):
            if (refusal := self._refusal(only)) is not None:
                raise BusyError(refusal)
            if time.monotonic() >= patience:
                raise BusyError("Another operation is about to begin: try again in a moment.")
            time.sleep(0.05)

    def _has_taken(self, session: Session, only: str) -> bool:
        if only != OPERATION:
            return session.try_lock(_lock(only))
        # Hosts that have this database, and coordinate by a directory, take the same one.
        return session.take(self._tables.operations)

    def _refusal(self, only: str) -> str | None:
        """Who has the lock; None where nobody has said so."""
        table = self._tables.operations
        mine = table.c.exclusive if only == OPERATION else table.c.verb == only
        query = sa.select(table).where(table.c.state == "running", mine)
        with connected(self._engine()) as connection, transaction(connection):
            row = connection.execute(query.limit(1)).one_or_none()
        if row is None:
            return None
        since = formatting.time(row.started_at)
        return runs_already(row.verb, row.id, row.actor, since, only=only)

    @contextmanager
    def waited_for(self, verb: str, meanwhile: Callable[[], object]) -> Iterator[None]:
        with closing(self._session()) as session:
            while not session.try_lock(_lock(verb)):
                meanwhile()
                time.sleep(0.1)
            yield

    @contextmanager
    def hold(self, archive: str, /, *, alone: bool) -> Iterator[None]:
        """Hold an archive, for the depot: with others, or `alone`. Raises BusyError."""
        with closing(self._session()) as session:
            if not session.try_lock(f"archive {archive}", shared=not alone):
                raise BusyError(f"{archive} is in use just now: try again later.")
            yield

    def making_tables(self) -> AbstractContextManager[object]:
        # The transaction that makes them takes a lock of its own.
        return nullcontext()

    # operations that run

    def log(self, operation: str, *, alone: bool = True) -> DatabaseLog:
        session = self._session()
        try:
            if alone:
                _live(session, operation)
            log = DatabaseLog(
                session, self._tables.events, operation, lambda: self._forget(operation, log)
            )
        except BaseException:
            session.close()
            raise
        self._logs[operation] = log
        return log

    def _forget(self, operation: str, log: DatabaseLog) -> None:
        if self._logs.get(operation) is log:
            del self._logs[operation]
            self._next_wish.pop(operation, None)

    def tail(self, operation: str, after: int = 0) -> DatabaseTail:
        return DatabaseTail(self._tailer, self._engine(), self._tables.events, operation, after)

    def has_log(self, operation: str) -> bool:
        # Who is to run it has locked its name, wherever that is.
        return True

    def remove_log(self, operation: str) -> None:
        events = self._tables.events
        with connected(self._engine()) as connection, transaction(connection):
            connection.execute(sa.delete(events).where(events.c.operation_id == operation))

    def is_alive(self, operation: str) -> bool:
        if (known := self._tailer.known_alive(operation)) is not None:
            return known
        query = held([life(operation)], self._tables.operations.name)
        with connected(self._engine()) as connection, transaction(connection):
            return connection.execute(query).first() is not None

    def wish_stop(self, operation: str) -> None:
        table = self._tables.operations
        with connected(self._engine()) as connection, transaction(connection):
            mine = table.c.id == operation
            connection.execute(sa.update(table).where(mine).values(stop_wished=True))

    def wishes_stop(self, operation: str) -> bool:
        """The process that runs it asks by the operation's own session, twice a second. Raises
        InterruptedOperationError where that is lost."""
        table = self._tables.operations
        query = sa.select(table.c.stop_wished).where(table.c.id == operation)
        log, now = self._logs.get(operation), time.monotonic()
        if log is None:
            with connected(self._engine()) as connection, transaction(connection):
                return bool(connection.execute(query).scalar())
        if now < self._next_wish.get(operation, 0.0):
            return False
        self._next_wish[operation] = now + _WISH
        try:
            log.flush()
            found = log.session.execute(query)
        except OSError:
            raise InterruptedOperationError(_LOST) from None
        return bool(found and found[0].stop_wished)

    def remove_wish(self, operation: str) -> None:
        # It goes with the operation's row.
        pass

    def running(self, operation: str) -> AbstractContextManager[None]:
        # The row says so.
        return nullcontext()

    def is_running(self) -> bool:
        return self._signs.seen(self._engine()).running

    def raise_alarm(self, level: str | None) -> None:
        self._signs.write(self._engine(), level)

    def alarm(self) -> str | None:
        return self._signs.seen(self._engine()).alarm

    def _session(self) -> Session:
        return Session(self._engine(), self._tables.operations.name)


class _Named:
    """A lock whose holder is found in the operation's row."""

    def name(self, holder: dict[str, Any]) -> None:
        pass


def _live(session: Session, operation: str) -> None:
    """Raises BlockingIOError."""
    if not session.try_lock(life(operation)):
        raise BlockingIOError(f"Operation {operation} lives in another process or thread.")


def _lock(only: str) -> str:
    return f"lock of {only}"
