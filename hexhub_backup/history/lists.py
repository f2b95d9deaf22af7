"""Lists of backups and of operations: filtered, sorted, and read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from hexhub_backup.history.models import COPIED, Backup, ListedBackup, ListedOperation
from hexhub_backup.history.tables import OPERATION, backups, copies, operations
from hexhub_backup.history.transactions import GetEngine, begin
from hexhub_backup.marking import marked

#: What backups can be filtered by, in the words of the pages.
BACKUP_STATES: dict[str, ColumnElement[bool]] = {
    "completed": backups.c.state == "completed",
    marked("with warnings"): and_(backups.c.state == "completed", backups.c.warning_count > 0),
    marked("damaged"): backups.c.intact.is_(False),
    **{state: backups.c.state == state for state in ("failed", "cancelled", "interrupted")},
}
OPERATION_STATES = (
    marked("completed"),
    marked("failed"),
    marked("cancelled"),
    marked("interrupted"),
    marked("running"),
    marked("queued"),
)
SORTS = (marked("newest"), marked("oldest"), marked("largest"))


@dataclass(frozen=True)
class BackupFilter:
    """Which backups are listed, and in which order. What is empty is not asked for.

    `text` is part of the id, of the label, of who made it, or of why it failed. `state` is one of
    BACKUP_STATES, `place` a destination that has a copy, `sort` one of SORTS.
    """

    text: str = ""
    state: str = ""
    place: str = ""
    kept: bool = False
    sort: str = "newest"

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        if self.text:
            yield _in_any(
                self.text, backups.c.id, backups.c.label, backups.c.created_by, backups.c.reason
            )
        if self.state:
            yield BACKUP_STATES[self.state]
        if self.kept:
            yield backups.c.kept.is_(True)
        if self.place:
            there = select(copies.c.backup_id).where(
                copies.c.place == self.place, copies.c.state == COPIED
            )
            yield backups.c.id.in_(there)


@dataclass(frozen=True)
class OperationFilter:
    """Which operations are listed. What is empty is not asked for; `text` is part of the id, of who
    ordered it, or of why it failed."""

    text: str = ""
    verb: str = ""
    state: str = ""

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        if self.text:
            yield _in_any(self.text, operations.c.id, operations.c.actor, operations.c.reason)
        if self.verb:
            yield operations.c.verb == self.verb
        if self.state:
            yield operations.c.state == self.state


#: What a list is sorted by, and whether the largest comes first.
_ORDERS: dict[str, tuple[ColumnElement[Any], bool]] = {
    "newest": (backups.c.created_at, True),
    "oldest": (backups.c.created_at, False),
    "largest": (func.coalesce(backups.c.size_bytes, -1), True),
}
ALL_BACKUPS, ALL_OPERATIONS = BackupFilter(), OperationFilter()
#: So many statements are remembered, of each kind: somebody may look for any text.
_BUILT = 50


def list_backups(
    engine: GetEngine,
    wanted: BackupFilter = ALL_BACKUPS,
    *,
    after: Backup | ListedBackup | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> list[ListedBackup]:
    """A page of backups; of the newest first those that come `after` another. Raises
    DatabaseError."""
    query = _backups(wanted, comes_after=after is not None, is_limited=limit is not None)
    given: dict[str, Any] = {"offset": offset, "limit": limit}
    if after is not None:
        given |= {"after_made": after.created_at, "after_id": after.id}
    with begin(engine) as connection:
        return [ListedBackup(**row._mapping) for row in connection.execute(query, given)]


def list_operations(
    engine: GetEngine,
    wanted: OperationFilter = ALL_OPERATIONS,
    *,
    offset: int = 0,
    limit: int | None = None,
) -> list[ListedOperation]:
    """A page of operations, the latest first. Raises DatabaseError."""
    query = _operations(wanted, is_limited=limit is not None)
    given = {"offset": offset, "limit": limit}
    with begin(engine) as connection:
        return [ListedOperation(**row._mapping) for row in connection.execute(query, given)]


def count_listed(engine: GetEngine, wanted: BackupFilter | OperationFilter) -> int:
    """How many there are. Raises DatabaseError."""
    with begin(engine) as connection:
        found: int = connection.execute(_count(wanted)).scalar_one()
    return found


# To build one of these takes longer than to carry it out.


@lru_cache(_BUILT)
def _backups(wanted: BackupFilter, *, comes_after: bool, is_limited: bool) -> Select[Any]:
    by, down = _ORDERS[wanted.sort]
    found = _ids(backups, by, down=down).where(*wanted.conditions())
    if comes_after:
        made, at = backups.c.created_at, bindparam("after_made", type_=backups.c.created_at.type)
        earlier = and_(made == at, backups.c.id < bindparam("after_id"))
        # The first half is for the index.
        found = found.where(made <= at, or_(made < at, earlier))
    manifest = backups.c.manifest
    return _listed(
        backups,
        _page(found, is_limited=is_limited),
        *(column for column in backups.c if column is not manifest),
        *(manifest[name].label(name) for name in ("contents", "checksums")),
        down=down,
    )


@lru_cache(_BUILT)
def _operations(wanted: OperationFilter, *, is_limited: bool) -> Select[Any]:
    outcome = operations.c.outcome
    found = _ids(operations, operations.c.queued_at).where(*wanted.conditions())
    return _listed(
        operations,
        _page(found, is_limited=is_limited),
        *(column for column in OPERATION if column is not outcome),
        outcome["warning_count"].as_integer().label("warning_count"),
        outcome["backups"].label("deleted"),
        outcome["copies"].label("deleted_copies"),
    )


@lru_cache(_BUILT)
def _count(wanted: BackupFilter | OperationFilter) -> Select[Any]:
    table = backups if isinstance(wanted, BackupFilter) else operations
    return select(func.count()).select_from(table).where(*wanted.conditions())


def _page(found: Select[Any], *, is_limited: bool) -> Select[Any]:
    found = found.offset(bindparam("offset", type_=Integer))
    return found.limit(bindparam("limit", type_=Integer)) if is_limited else found


def _in_any(text: str, *columns: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a text is part of one of these, in capitals or not."""
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def _ids(table: Table, by: ColumnElement[Any], *, down: bool = True) -> Select[Any]:
    """The ids of a table with what they are sorted by: the largest first, or last."""
    order = (by.desc(), table.c.id.desc()) if down else (by.asc(), table.c.id.asc())
    return select(table.c.id, by.label("sorted_by")).order_by(*order)


def _listed(
    table: Table, found: Select[Any], *columns: ColumnElement[Any], down: bool = True
) -> Select[Any]:
    """These columns of the table's rows whose ids were found. A database would take what it needs
    of the JSON of all rows before it sorts them, and cut the list then."""
    rows = found.subquery()
    query = select(*columns).join_from(rows, table, rows.c.id == table.c.id)
    by, name = rows.c.sorted_by, rows.c.id
    return query.order_by(by.desc() if down else by.asc(), name.desc() if down else name.asc())
