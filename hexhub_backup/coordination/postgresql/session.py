"""A connection of its own, whose locks die with it."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hexhub_backup.databases.connections import connected
from hexhub_backup.databases.errors import ERRORS, summary
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError

#: How soon the server knows that the machine at the other end is gone, and how long it waits for a
#: statement of ours: seconds, seconds, attempts, milliseconds, milliseconds.
_SETTINGS = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "statement_timeout": 20_000,
}
_LOCKS = sa.table(
    "pg_locks", *map(sa.column, ("locktype", "database", "classid", "objid", "objsubid", "mode"))
)
_DATABASES = sa.table("pg_database", sa.column("oid"), sa.column("datname"))


class Session:
    """A session on the server, which belongs to nobody else until it is closed: it is no
    connection of the host's pool. Each statement is a transaction of its own.

    Raises OSError where the server can't be reached, or not any more: then it is lost, with its
    locks.
    """

    def __init__(self, engine: sa.Engine, table: str) -> None:
        """`table` is the one after which locks are named."""
        self.lost = False
        self._table = table
        self._open = ExitStack()
        self._driver: Any = None
        with _as_os_error(), ExitStack() as opening:
            self.connection = opening.enter_context(connected(engine))
            self.connection.execution_options(isolation_level="AUTOCOMMIT")
            # Leaving ends the session, and the host's pool is whole.
            self.connection.detach()
            # SQLAlchemy lets go of one that is lost, and leaves it open.
            self._driver = self.connection.connection.driver_connection
            settings = ", ".join(
                f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items()
            )
            self.connection.exec_driver_sql(f"SELECT {settings}")
            self.connection.commit()
            self._open = opening.pop_all()

    def execute(self, statement: sa.Executable) -> list[sa.Row[Any]]:
        """The rows of a statement, if it gives any."""
        with self._asked():
            result = self.connection.execute(statement)
            return list(result) if result.returns_rows else []

    def pid(self) -> int:
        """The process on the server that answers."""
        return int(self.execute(sa.select(sa.func.pg_backend_pid()))[0][0])

    def try_lock(self, name: str, *, shared: bool = False) -> bool:
        """Lock a name until the session ends, or return False: somebody else has it. Where it is
        `shared`, others may share it."""
        take = sa.func.pg_try_advisory_lock_shared if shared else sa.func.pg_try_advisory_lock
        return bool(self.execute(sa.select(take(_key(name, self._table))))[0][0])

    def take(self, table: sa.Table) -> bool:
        """Take the lock that is named after a table; see `Database.take_lock`."""
        with self._asked():
            return database_of(self.connection).take_lock(self.connection, table)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Around one transaction. Raises OSError: then the session is lost."""
        try:
            with _as_os_error():
                yield
                self.connection.commit()
        except OSError:
            self.lost = True
            raise

    def close(self) -> None:
        """End the session. Its locks are free on return: a server that only sees a connection end
        frees them some moments later."""
        if not self.lost:
            with suppress(OSError):
                self.execute(sa.select(sa.func.pg_advisory_unlock_all()))
        with suppress(DatabaseError, *ERRORS):
            self._open.close()
        if self._driver is not None:
            # Whatever a driver raises of one that is closed: there is nothing left to do.
            with suppress(Exception):
                self._driver.close()


def held(names: Iterable[str], table: str) -> sa.CompoundSelect[tuple[str]]:
    """The query for which of these names somebody has locked for himself alone, in whichever
    session."""
    of = _LOCKS.c
    oid = sa.select(_DATABASES.c.oid).where(_DATABASES.c.datname == sa.func.current_database())
    key = (
        sa.cast(of.classid, sa.BigInteger)
        .op("<<")(sa.literal_column("32"))
        .op("|")(sa.cast(of.objid, sa.BigInteger))
    )
    locked = sa.select(key).where(
        of.locktype == "advisory",
        of.objsubid == 1,
        of.mode == "ExclusiveLock",
        of.database == oid.scalar_subquery(),
    )
    asked = (sa.select(sa.literal(each)).where(_key(each, table).in_(locked)) for each in names)
    return sa.union_all(*asked)


def _key(name: str, table: str) -> sa.ColumnElement[int]:
    """64 bits that stand for a name, among those of the hosts that have the same tables."""
    oid = sa.cast(sa.cast(table, postgresql.REGCLASS), postgresql.OID)
    return sa.func.hashtextextended(name, sa.cast(oid, sa.BigInteger))


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What can't be done now may be done later, as with a file: an OSError, without any value."""
    try:
        yield
    except DatabaseError as error:
        raise OSError(errno.EIO, str(error)) from None
    except ERRORS as error:
        # Not chained: its text, statement and parameters would be in the traceback.
        raise OSError(errno.EIO, f"The database can't be used: {summary(error)}") from None
