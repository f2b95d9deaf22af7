"""Decisions and their journals: what a restore or an undo must have remembered at its commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Row,
    Table,
    delete,
    insert,
    literal,
    select,
    update,
)

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.databases.base import clean_up
from hexhub_backup.databases.connections import transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.databases.loading import Loader
from hexhub_backup.databases.types import NUMBER
from hexhub_backup.errors import InterruptedOperationError
from hexhub_backup.history.models import RUNNING
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import journal, operations
from hexhub_backup.history.transactions import GetEngine, begin
from hexhub_backup.operations.decisions import JournalEntry

_BATCH = 500
# A journal before it is decided; `n` is the number of the release.
_STAGED = Table(
    f"{journal.name}_staged",
    MetaData(),
    Column("n", NUMBER, primary_key=True, autoincrement=False),
    *(
        Column(each.name, each.type, primary_key=each.name == "file_type")
        for each in journal.columns
        if each.name not in ("id", "operation_id")
    ),
    prefixes=["TEMPORARY"],
)


@dataclass(frozen=True)
class RunDecisions:
    """Decisions of one run of an operation, which `run_token` stands for; the Decisions that
    `operations` asks for. Raises DatabaseError."""

    engine: GetEngine
    run_token: str

    @contextmanager
    def staged(
        self, connection: Connection, entries: Iterable[tuple[int, JournalEntry]]
    ) -> Iterator[None]:
        """Stage a journal in a temporary table of the connection, which goes when it is left. Each
        entry comes with the number of its release."""
        database = database_of(connection)

        def drop() -> None:
            with transaction(connection):
                database.drop_temporary(connection, _STAGED)

        # MariaDB rolls back no temporary table, and the next one would find it.
        try:
            with translated("The journal can not be staged"), transaction(connection):
                database.create_temporary(connection, _STAGED, {}, ())
                load, rest = Loader(connection, _STAGED), iter(entries)
                while batch := list(islice(rest, _BATCH)):
                    load(
                        {
                            "n": [n for n, _ in batch],
                            "file_type": [entry.file.type for _, entry in batch],
                            "package": [entry.file.package for _, entry in batch],
                            "version": [entry.file.version for _, entry in batch],
                            "action": [entry.action for _, entry in batch],
                            "tag": [entry.tag for _, entry in batch],
                            "record": [entry.record for _, entry in batch],
                        }
                    )
            yield
        finally:
            clean_up(connection, drop)

    def decide(
        self,
        connection: Connection,
        operation_id: str,
        outcome: dict[str, Any],
        spared: Iterable[int],
    ) -> None:
        """Write the decision and the journal that was staged, without the releases that are spared,
        into the transaction that makes them true.

        Raises InterruptedOperationError where the operation is no longer this run's: a process
        that lost its lock must not decide what another one has ended meanwhile.
        """
        changed = connection.execute(
            update(operations)
            .where(
                operations.c.id == operation_id,
                operations.c.state == RUNNING,
                operations.c.run_token == self.run_token,
            )
            .values(decided_at=utc_now(), outcome=outcome)
        )
        if changed.rowcount != 1:
            raise InterruptedOperationError(
                f"Another process has ended operation {operation_id} meanwhile, because this one "
                "had lost its lock: nothing was changed. Start again."
            )
        rest = iter(spared)
        while numbers := list(islice(rest, _BATCH)):
            connection.execute(delete(_STAGED).where(_STAGED.c.n.in_(numbers)))
        columns = [each for each in _STAGED.columns if each is not _STAGED.c.n]
        connection.execute(
            insert(journal).from_select(
                ["operation_id", *(each.name for each in columns)],
                select(literal(operation_id), *columns).order_by(_STAGED.c.n, _STAGED.c.file_type),
            )
        )

    def decided(self, operation_id: str) -> bool:
        """Whether it is, for good: waits for the end of the deciding transaction."""
        query = select(operations.c.decided_at).where(operations.c.id == operation_id)
        with begin(self.engine) as connection:
            return connection.execute(query.with_for_update()).scalar() is not None

    def journal(self, operation_id: str) -> Iterator[JournalEntry]:
        """What a decision does to stored files."""
        query = select(journal).where(journal.c.operation_id == operation_id)
        last = 0
        while True:
            page = query.where(journal.c.id > last).order_by(journal.c.id).limit(_BATCH)
            with begin(self.engine) as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            yield from map(_journal_entry, rows)
            last = rows[-1].id

    def close_journal(self, operation_id: str, outcome: dict[str, Any] | None) -> None:
        """Forget the journal, and remember at once an outcome that is other than was decided."""
        with begin(self.engine) as connection:
            if outcome is not None:
                connection.execute(
                    update(operations)
                    .where(operations.c.id == operation_id)
                    .values(outcome=outcome)
                )
            connection.execute(delete(journal).where(journal.c.operation_id == operation_id))


def _journal_entry(row: Row[Any]) -> JournalEntry:
    file = ReleaseFile(row.file_type, row.package, row.version)
    return JournalEntry(file, row.action, row.tag, row.record)
