"""The queries on our tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import delete as delete_from

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.database import connected, transaction
from hexhub_backup.database_errors import ERRORS, summary
from hexhub_backup.errors import DatabaseError, NotFoundError
from hexhub_backup.history import advisory
from hexhub_backup.history.models import (
    Backup,
    ListedBackup,
    ListedOperation,
    Operation,
    audit_events,
    backups,
    journal,
    metadata,
    operations,
    schedule,
)
from hexhub_backup.operations.catalog import JournalEntry

_BATCH = 500


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Catalog:
    """What is remembered, in the database of the host's models.

    Every method is one short transaction on a connection of its own. Raises DatabaseError.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._created = False

    def create_tables(self) -> None:
        """Make the tables that are not there yet, once a process; only under their lock."""
        if not self._created:
            # On SQLite who has read first is refused to write at once where another one writes.
            with self._begin("IMMEDIATE") as connection:
                advisory.alone_in_transaction(connection)
                metadata.create_all(connection)
            self._created = True

    def alone(self) -> AbstractContextManager[None]:
        """Hold the database's own lock, where it has one; see `advisory`."""
        return advisory.alone(self._engine())

    @contextmanager
    def _begin(self, mode: str = "DEFERRED") -> Iterator[Connection]:
        """A short transaction. It is over, and its connection given back, before anything is
        yielded: a pool may have no other one."""
        with connected(self._engine()) as connection:
            try:
                with transaction(connection, mode):
                    yield connection
            except ERRORS as error:
                # Not chained: its text, statement and parameters would be in the traceback.
                raise DatabaseError(
                    f"The history could not be read or written: {summary(error)} If its tables "
                    "are not there, run 'flask backups init-db' or your migration."
                ) from None

    # operations

    def add_operation(self, operation: Operation, backup: Backup | None = None) -> None:
        """Add an operation, with the backup that it makes."""
        with self._begin() as connection:
            connection.execute(insert(operations).values(**dataclasses.asdict(operation)))
            if backup is not None:
                connection.execute(insert(backups).values(**_backup_values(backup)))

    def finish_operation(self, operation_id: str, **values: Any) -> None:
        with self._begin() as connection:
            connection.execute(
                update(operations).where(operations.c.id == operation_id).values(**values)
            )

    def operation(self, operation_id: str) -> Operation:
        """Raises NotFoundError."""
        with self._begin() as connection:
            row = connection.execute(
                select(operations).where(operations.c.id == operation_id)
            ).one_or_none()
        if row is None:
            raise NotFoundError(
                f"There is no operation {operation_id}. What is past the retention is forgotten: "
                "look through the list of operations."
            )
        return Operation(**row._mapping)

    def list_operations(self, *, limit: int | None = None) -> list[ListedOperation]:
        """The latest first."""
        outcome = operations.c.outcome
        query = _listed(
            _latest(operations, operations.c.started_at).limit(limit),
            *(column for column in operations.c if column is not outcome),
            outcome["warning_count"].as_integer().label("warning_count"),
            outcome["backups"].label("deleted"),
        )
        with self._begin() as connection:
            rows = connection.execute(query)
            return [ListedOperation(**row._mapping) for row in rows]

    def completed_operation(
        self, verb: str, option: str, value: str, *, since: datetime
    ) -> Operation | None:
        """The latest operation of a verb that was begun with this value of an option, and is
        completed. `since` is when the one that `value` names was begun: there is none before."""
        query = select(operations).where(
            operations.c.started_at >= since,
            operations.c.verb == verb,
            operations.c.state == "completed",
            operations.c.options[option].as_string() == value,
        )
        with self._begin() as connection:
            row = connection.execute(
                query.order_by(operations.c.started_at.desc(), operations.c.id.desc()).limit(1)
            ).one_or_none()
        return None if row is None else Operation(**row._mapping)

    def has_operation(self, operation_id: str) -> bool:
        query = select(operations.c.id).where(operations.c.id == operation_id)
        with self._begin() as connection:
            return connection.execute(query).scalar() is not None

    def running_operations(self) -> list[Operation]:
        with self._begin() as connection:
            rows = connection.execute(select(operations).where(operations.c.state == "running"))
            return [Operation(**row._mapping) for row in rows]

    def unsettled_operations(self, *, for_good: bool = False) -> list[str]:
        """The ids of those that are said to run, and of those that were decided and not completed;
        each decided, or not, `for_good`. That only under the lock.

        FOR UPDATE: a decision whose process is dead may still be on its way to the disk in the
        server, and holds its row until it is there or undone."""
        decided = and_(operations.c.decided_at.is_not(None), operations.c.state != "completed")
        query = select(operations.c.id).where(or_(operations.c.state == "running", decided))
        with self._begin() as connection:
            return list(
                connection.execute(query.with_for_update() if for_good else query).scalars()
            )

    def old_operations(self, before: datetime) -> list[str]:
        """The ids of the operations that ended before a time."""
        query = select(operations.c.id).where(operations.c.finished_at < before)
        with self._begin() as connection:
            return list(connection.execute(query).scalars())

    def delete_operation(self, operation_id: str) -> None:
        with self._begin() as connection:
            connection.execute(delete_from(operations).where(operations.c.id == operation_id))

    # the decision

    def decide(
        self,
        connection: Connection,
        operation_id: str,
        outcome: dict[str, Any],
        entries: Iterable[JournalEntry],
    ) -> None:
        """Write the decision and its journal into the transaction that makes them true."""
        changed = connection.execute(
            update(operations)
            .where(operations.c.id == operation_id)
            .values(decided_at=utc_now(), outcome=outcome)
        )
        if changed.rowcount != 1:
            raise DatabaseError(
                f"Operation {operation_id} is not in the history, so that its decision could not "
                "be recorded: nothing was changed. Start again."
            )
        rows = (
            {
                "operation_id": operation_id,
                "file_type": entry.file.type,
                "package": entry.file.package,
                "version": entry.file.version,
                "action": entry.action,
                "tag": entry.tag,
                "record": entry.record,
            }
            for entry in entries
        )
        while batch := list(islice(rows, _BATCH)):
            connection.execute(insert(journal), batch)

    def decided(self, operation_id: str) -> bool:
        """Whether it is, for good: waits for the end of the deciding transaction."""
        query = select(operations.c.decided_at).where(operations.c.id == operation_id)
        with self._begin() as connection:
            return connection.execute(query.with_for_update()).scalar() is not None

    def journal(self, operation_id: str) -> Iterator[JournalEntry]:
        """What a decision does to stored files."""
        query = select(journal).where(journal.c.operation_id == operation_id)
        last = 0
        while True:
            page = query.where(journal.c.id > last).order_by(journal.c.id).limit(_BATCH)
            with self._begin() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            yield from map(_journal_entry, rows)
            last = rows[-1].id

    def close_journal(self, operation_id: str, outcome: dict[str, Any] | None) -> None:
        """Forget the journal, and remember at once an outcome that is other than was decided."""
        with self._begin() as connection:
            if outcome is not None:
                connection.execute(
                    update(operations)
                    .where(operations.c.id == operation_id)
                    .values(outcome=outcome)
                )
            connection.execute(delete_from(journal).where(journal.c.operation_id == operation_id))

    # backups

    def add_backup(self, backup: Backup) -> None:
        with self._begin() as connection:
            connection.execute(insert(backups).values(**_backup_values(backup)))

    def update_backup(self, backup_id: str, **values: Any) -> None:
        with self._begin() as connection:
            connection.execute(update(backups).where(backups.c.id == backup_id).values(**values))

    def delete_backup(self, backup_id: str) -> None:
        with self._begin() as connection:
            connection.execute(delete_from(backups).where(backups.c.id == backup_id))

    def backup(self, backup_id: str) -> Backup:
        """Raises NotFoundError."""
        with self._begin() as connection:
            row = connection.execute(select(backups).where(backups.c.id == backup_id)).one_or_none()
        if row is None:
            raise NotFoundError(
                f"There is no backup {backup_id}. It may have been deleted, or have expired: look "
                "through the list of backups."
            )
        return Backup(**row._mapping)

    def count_backups(self) -> int:
        with self._begin() as connection:
            return connection.execute(select(func.count()).select_from(backups)).scalar_one()

    def has_backup(self, backup_id: str) -> bool:
        query = select(backups.c.id).where(backups.c.id == backup_id)
        with self._begin() as connection:
            return connection.execute(query).scalar() is not None

    def list_backups(
        self,
        *,
        state: str | None = None,
        after: ListedBackup | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[ListedBackup]:
        """The latest first; those that come `after` another."""
        found = _latest(backups, backups.c.created_at).offset(offset).limit(limit)
        if state is not None:
            found = found.where(backups.c.state == state)
        if after is not None:
            made = backups.c.created_at
            earlier = and_(made == after.created_at, backups.c.id < after.id)
            # The first half is for the index.
            found = found.where(made <= after.created_at, or_(made < after.created_at, earlier))
        manifest = backups.c.manifest
        query = _listed(
            found,
            *(column for column in backups.c if column is not manifest),
            *(manifest[name].label(name) for name in ("contents", "checksums")),
        )
        with self._begin() as connection:
            return [ListedBackup(**row._mapping) for row in connection.execute(query)]

    # audit, schedule

    def add_audit_event(
        self, event: str, *, actor: str, at: datetime, address: str | None, details: dict[str, Any]
    ) -> None:
        with self._begin() as connection:
            connection.execute(
                insert(audit_events).values(
                    event=event, actor=actor, at=at, address=address, details=details
                )
            )

    def due_at(self, name: str) -> datetime | None:
        query = select(schedule.c.due_at).where(schedule.c.name == name)
        with self._begin() as connection:
            return connection.execute(query).scalar()

    def set_due(self, name: str, due_at: datetime) -> None:
        with self._begin() as connection:
            changed = connection.execute(
                update(schedule).where(schedule.c.name == name).values(due_at=due_at)
            )
            if changed.rowcount == 0:
                connection.execute(insert(schedule).values(name=name, due_at=due_at))


def _latest(table: Table, moment: Column[datetime]) -> Select[tuple[str, datetime]]:
    """The ids of a table, the latest first, with their times."""
    return select(table.c.id, moment).order_by(moment.desc(), table.c.id.desc())


def _listed(found: Select[tuple[str, datetime]], *columns: ColumnElement[Any]) -> Select[Any]:
    """These columns of the rows that `_latest` found. A database would take what it needs of the
    JSON of all rows before it sorts them, and cut the list then."""
    rows = found.subquery()
    _, moment = rows.c
    table = found.get_final_froms()[0]
    query = select(*columns).join_from(rows, table, rows.c.id == table.c.id)
    return query.order_by(moment.desc(), rows.c.id.desc())


def _backup_values(backup: Backup) -> dict[str, Any]:
    values = dataclasses.asdict(backup)
    del values["file_missing"]
    return values


def _journal_entry(row: Row[Any]) -> JournalEntry:
    file = ReleaseFile(row.file_type, row.package, row.version)
    return JournalEntry(file, row.action, row.tag, row.record)
