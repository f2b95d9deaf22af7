"""Which records a database refuses, found by writing halves of them in savepoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hexhub_backup import formatting
from hexhub_backup.archive.records import KINDS, Kind
from hexhub_backup.databases.connections import savepoint
from hexhub_backup.databases.errors import is_of_the_record, refusal
from hexhub_backup.errors import DatabaseError, Fault, RefusedError
from hexhub_backup.marking import marked

#: So many records are looked for: a rule that refuses all of a large archive is told by a part.
MOST = 1000
_LISTED = 100


class Writing(Protocol):
    """What a bisection needs of a restoration."""

    def write_part(self, kind: Kind, within: sa.ColumnElement[bool] | None = None) -> None: ...

    def settle(self) -> None: ...

    def refuse(self, kind: Kind, n: int, reason: str) -> None: ...

    def spare_blocked(self, kind: Kind) -> None: ...

    def staged_table(self, kind: Kind) -> sa.Table | None: ...


def write_or_refuse(connection: sa.Connection, writing: Writing) -> None:
    """Write all that was staged, and have it held against each constraint. Raises RefusedError
    with the records that the database refuses; whoever catches it has to roll back."""
    written = False
    try:
        with savepoint(connection):
            for kind in KINDS:
                writing.write_part(kind)
            written = True
            writing.settle()
    except (SQLAlchemyError, DatabaseError) as error:
        if not _is_refusal(error, connection):
            raise
        # What is looked at in the end only may hold for all together, and not for a part.
        found = _Bisection(connection, writing, settle=writing.settle if written else None)
        found.run()
        if not found.count:
            raise
        raise found.error() from None


def _is_refusal(error: Exception, connection: sa.Connection) -> bool:
    """Whether other records might have been taken."""
    return not (connection.closed or connection.invalidated) and is_of_the_record(error)


class _Bisection:
    """About `k log n` statements for `k` records of `n`: what the database takes stays written,
    so that of two records that fight the second one is refused."""

    def __init__(
        self, connection: sa.Connection, writing: Writing, *, settle: Callable[[], None] | None
    ) -> None:
        self._connection = connection
        self._writing = writing
        self._settle = settle
        self._records: dict[str, dict[int, str]] = {kind.name: {} for kind in KINDS}
        self._faults: list[Fault] = []

    @property
    def count(self) -> int:
        return sum(map(len, self._records.values()))

    def error(self) -> RefusedError:
        if self.count >= MOST:
            message = marked(
                f"The database refuses {self.count:,} or more records of the archive: nothing was "
                "restored."
            )
        else:
            message = formatting.plural(
                self.count,
                "The database refuses {count} record of the archive: nothing was restored.",
                "The database refuses {count} records of the archive: nothing was restored.",
            )
        return RefusedError(message, self._faults, records=self._records)

    def run(self) -> None:
        for kind in KINDS:
            table = self._writing.staged_table(kind)
            if table is not None:
                if self.count:
                    self._writing.spare_blocked(kind)
                self._part(kind, table, table.c.action.is_not(None))

    def _part(self, kind: Kind, table: sa.Table, within: sa.ColumnElement[bool]) -> None:
        if self.count >= MOST:
            return
        refused = self._refused(kind, within)
        if refused is None:
            return
        numbers = sa.select(table.c.n).where(within, table.c.action.is_not(None))
        size = self._scalar(sa.select(sa.func.count()).select_from(numbers.subquery()))
        if size == 1:
            self._add(kind, table, self._scalar(numbers), refused)
        elif size:
            last = self._scalar(numbers.order_by(table.c.n).offset((size - 1) // 2).limit(1))
            self._part(kind, table, sa.and_(within, table.c.n <= last))
            self._part(kind, table, sa.and_(within, table.c.n > last))

    def _refused(self, kind: Kind, within: sa.ColumnElement[bool]) -> str | None:
        """Why a part is refused, or None where it is written now."""
        try:
            with savepoint(self._connection):
                self._writing.write_part(kind, within)
                if self._settle is not None:
                    self._settle()
        except DatabaseError:
            return marked("the database leaves it out without a word, as a trigger may do")
        except SQLAlchemyError as error:
            if not _is_refusal(error, self._connection):
                raise
            return marked(f"the database refuses it: {refusal(error, self._connection)}")
        return None

    def _add(self, kind: Kind, table: sa.Table, n: int, reason: str) -> None:
        self._records[kind.name][n] = reason
        row = table.c.n == n
        if len(self._faults) < _LISTED:
            key = json.loads(self._scalar(sa.select(table.c.key).where(row)))
            self._faults.append(Fault("refused", reason, record=kind.label(tuple(key))))
        self._writing.refuse(kind, n, reason)

    def _scalar(self, select: sa.Select[Any]) -> Any:
        return self._connection.execute(select).scalar_one()
