"""The queries on our tables."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    case,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import IntegrityError

from hexhub_backup import formatting
from hexhub_backup.coordination.lock import runs_already, waits_already
from hexhub_backup.databases.base import Mode
from hexhub_backup.errors import BusyError, DatabaseError, NotFoundError
from hexhub_backup.history import advisory
from hexhub_backup.history.copies import Copies, copy_values
from hexhub_backup.history.migrations import (
    VERSION,
    found_version,
    refuse_newer,
    refuse_older,
    upgrade,
)
from hexhub_backup.history.models import (
    QUEUED,
    RUNNING,
    Backup,
    Copy,
    ListedBackup,
    Operation,
)
from hexhub_backup.history.tables import (
    OPERATION,
    audit_events,
    backups,
    copies,
    operations,
    schedule,
)
from hexhub_backup.history.transactions import GetEngine, begin

# Built once: that takes longer than to carry them out.
_OPERATIONS = select(*OPERATION)
_UNFINISHED = _OPERATIONS.where(operations.c.state.in_((QUEUED, RUNNING)))


@cache
def _brief(*, since: bool, until: bool) -> Select[Any]:
    made = backups.c.created_at
    query = select(*(column for column in backups.c if column is not backups.c.manifest))
    if since:
        query = query.where(made >= bindparam("since"))
    if until:
        query = query.where(made <= bindparam("until"))
    return query.order_by(made.desc(), backups.c.id.desc())


class _TakenError(Exception):
    """The database has let no second exclusive operation in."""


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Catalog:
    """What is remembered, in the database of the host's models.

    Every method is one short transaction on a connection of its own. Raises DatabaseError.
    """

    def __init__(self, engine: GetEngine) -> None:
        self.engine = engine
        self.copies = Copies(engine)
        self._created = False

    def create_tables(self) -> None:
        """Make our tables, or upgrade them, once a process; only under their lock."""
        if not self._created:
            # On SQLite who has read first is refused to write at once where another one writes.
            with self._begin("writing") as connection:
                advisory.alone_in_transaction(connection)
                upgrade(connection)
            self._created = True

    def check_tables(self) -> None:
        """Raises VersionError where our tables are not of the version of this release."""
        with self._begin() as connection:
            found = found_version(connection)
        if found is not None:
            refuse_newer(found)
            refuse_older(found)

    def has_tables(self) -> bool:
        """Whether our tables are there, of the version of this release."""
        with self._begin() as connection:
            return bool(found_version(connection) == VERSION)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the database's own lock, where it has one; see `advisory`."""
        return advisory.alone(self.engine())

    def _begin(self, mode: Mode = "any") -> AbstractContextManager[Connection]:
        return begin(self.engine, mode)

    # operations

    def add_operation(self, operation: Operation, *, exclusive: bool = False) -> None:
        """Add an order. Raises BusyError, which names the other one, where it is `exclusive` and
        another exclusive one is queued or running; DatabaseError, whose `unanswered` says whether
        the order may be there all the same."""
        values = {**dataclasses.asdict(operation), "exclusive": True if exclusive else None}
        written = False
        try:
            with self._begin() as connection:
                try:
                    connection.execute(insert(operations).values(**values))
                    written = True
                except IntegrityError as error:
                    raise _TakenError from error
        except _TakenError:
            raise self._busy() from None
        except DatabaseError as error:
            error.unanswered = written
            raise

    def exclusive_operation(self) -> Operation | None:
        """The exclusive operation that is queued or running, where there is one."""
        query = _OPERATIONS.where(operations.c.exclusive)
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Operation(**row._mapping)

    def _busy(self) -> BusyError:
        other = self.exclusive_operation()
        if other is None:
            return BusyError("Another operation has just ended: try again.")
        return busy_with(other)

    def take(self, operation_id: str, run_token: str, *, started_at: datetime | None) -> bool:
        """Let a queued operation run, by whoever has this token. False where it is not queued:
        somebody else has taken it, or it was cancelled."""
        return self.finish_operation(
            operation_id,
            state_was=QUEUED,
            state=RUNNING,
            started_at=started_at,
            run_token=run_token,
        )

    def claim(self, operation_id: str, run_token: str) -> Operation:
        """Take an operation from whoever ran it, or was to: it can't decide any more. Waits for
        the end of a deciding transaction, and gives the operation as it is then. Raises
        NotFoundError."""
        state = case((operations.c.state == QUEUED, RUNNING), else_=operations.c.state)
        self.finish_operation(operation_id, state=state, run_token=run_token)
        return self.operation(operation_id)

    def is_run_by(self, operation_id: str, run_token: str) -> bool:
        """Whether an operation is still that of the run which this token stands for."""
        query = select(operations.c.id).where(
            operations.c.id == operation_id, operations.c.run_token == run_token
        )
        with self._begin() as connection:
            return connection.execute(query).scalar() is not None

    def finish_operation(
        self,
        operation_id: str,
        *,
        state_was: str | None = None,
        run_token_was: str | None = None,
        **values: Any,
    ) -> bool:
        """Write what became of an operation; false where it is not, or not any more, in the state
        and of the run that were expected. A final state lets the next exclusive one in."""
        if isinstance(state := values.get("state"), str) and state not in (QUEUED, RUNNING):
            values["exclusive"] = None
        query = update(operations).where(operations.c.id == operation_id)
        if state_was is not None:
            query = query.where(operations.c.state == state_was)
        if run_token_was is not None:
            query = query.where(operations.c.run_token == run_token_was)
        with self._begin() as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def operation(self, operation_id: str) -> Operation:
        """Raises NotFoundError."""
        with self._begin() as connection:
            row = connection.execute(
                _OPERATIONS.where(operations.c.id == operation_id)
            ).one_or_none()
        if row is None:
            raise NotFoundError(
                f"There is no operation {operation_id}. What is past the retention is forgotten: "
                "look through the list of operations."
            )
        return Operation(**row._mapping)

    def completed_after(self, operation_id: str, verb: str) -> Operation | None:
        """The latest completed operation of a verb that goes on from another one."""
        query = _OPERATIONS.where(
            operations.c.follows_id == operation_id,
            operations.c.verb == verb,
            operations.c.state == "completed",
        )
        with self._begin() as connection:
            row = connection.execute(
                query.order_by(operations.c.queued_at.desc(), operations.c.id.desc()).limit(1)
            ).one_or_none()
        return None if row is None else Operation(**row._mapping)

    def measured(self, verb: str) -> dict[str, Any]:
        """What the latest operation of a verb that was completed has measured of its steps; see
        `Progress.measured`."""
        latest = select(operations.c.outcome).where(
            operations.c.verb == verb, operations.c.state == "completed"
        )
        with self._begin() as connection:
            outcome = connection.scalar(latest.order_by(operations.c.queued_at.desc()).limit(1))
        return dict((outcome or {}).get("steps", {}))

    def has_operation(self, operation_id: str) -> bool:
        query = select(operations.c.id).where(operations.c.id == operation_id)
        with self._begin() as connection:
            return connection.execute(query).scalar() is not None

    def unfinished_operations(self) -> list[Operation]:
        """Those that are queued or running."""
        with self._begin() as connection:
            return [Operation(**row._mapping) for row in connection.execute(_UNFINISHED)]

    def unsettled_operations(self) -> list[Operation]:
        """Those that are queued or running, and those that were decided and not completed."""
        unfinished = operations.c.state.in_((QUEUED, RUNNING))
        # Said by the states that there are, for the index.
        ended = operations.c.state.in_(("failed", "cancelled", "interrupted"))
        decided = and_(ended, operations.c.decided_at.is_not(None))
        query = _OPERATIONS.where(or_(unfinished, decided))
        with self._begin() as connection:
            return [Operation(**row._mapping) for row in connection.execute(query)]

    def old_operations(self, before: datetime) -> list[str]:
        """The ids of the operations that ended before a time."""
        query = select(operations.c.id).where(operations.c.finished_at < before)
        with self._begin() as connection:
            return list(connection.execute(query).scalars())

    def delete_operation(self, operation_id: str, *, state_was: str | None = None) -> bool:
        """False where it is not there, or not in the state that was expected."""
        query = delete_from(operations).where(operations.c.id == operation_id)
        if state_was is not None:
            query = query.where(operations.c.state == state_was)
        with self._begin() as connection:
            return connection.execute(query).rowcount == 1

    # backups

    def add_backup(self, backup: Backup, *copies_of_it: Copy) -> None:
        """Add a backup, together with copies that were found of it."""
        with self._begin() as connection:
            connection.execute(insert(backups).values(**_backup_values(backup)))
            for copy in copies_of_it:
                connection.execute(insert(copies).values(**copy_values(copy)))

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

    def backup_ids(self) -> set[str]:
        with self._begin() as connection:
            return set(connection.scalars(select(backups.c.id)))

    def has_backup(self, backup_id: str) -> bool:
        query = select(backups.c.id).where(backups.c.id == backup_id)
        with self._begin() as connection:
            return connection.execute(query).scalar() is not None

    def brief_backups(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[ListedBackup]:
        """Those of this time, or all, the latest first: without what they contain."""
        query = _brief(since=since is not None, until=until is not None)
        with self._begin() as connection:
            rows = connection.execute(query, {"since": since, "until": until})
            return [ListedBackup(**row._mapping, contents=None, checksums=None) for row in rows]

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
                update(schedule)
                .where(schedule.c.name == name)
                .values(due_at=due_at, try_at=None, operation_id=None)
            )
            if changed.rowcount == 0:
                connection.execute(insert(schedule).values(name=name, due_at=due_at))


def busy_with(other: Operation, *, only: str = "operation") -> BusyError:
    """Why an operation does not begin where another one waits or runs, of which `only` one does."""
    who = (other.verb, other.id, other.actor)
    if other.started_at is None:
        return BusyError(waits_already(*who, formatting.time(other.queued_at), only=only))
    return BusyError(runs_already(*who, formatting.time(other.started_at), only=only))


def _backup_values(backup: Backup) -> dict[str, Any]:
    values = dataclasses.asdict(backup)
    return {name: values[name] for name in (column.name for column in backups.c) if name in values}
