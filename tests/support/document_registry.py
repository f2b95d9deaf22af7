"""A registry of a host's own: documents in one table of SQLite, without models.

As small as one can be: what is staged is in memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.credentials import is_secret
from hexhub_backup.archive.records import (
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Key,
    Kind,
    Record,
)
from hexhub_backup.errors import DatabaseError, RightsError
from hexhub_backup.registry.base import Action, Comparison, Registry, State
from hexhub_backup.testing import RegistryConformance
from hexhub_backup.testing.registries.host import NewRegistry

_TABLE = "CREATE TABLE IF NOT EXISTS documents (kind, one, two, document, UNIQUE (kind, one, two))"
_RIGHT = "is_admin"
_NOT_COMPARED = {"downloads", "updated_at"}
_FIELDS = {
    kind.name: frozenset({*kind.fields, _RIGHT} if kind is USERS else kind.fields) for kind in KINDS
}
#: The kinds that records of a kind belong to, and which part of the key is their name.
_PARENTS = {
    USERS.name: (),
    PACKAGES.name: (),
    RELEASES.name: ((PACKAGES, 0),),
    OWNERS.name: ((PACKAGES, 0), (USERS, 1)),
}


@dataclass(frozen=True)
class Member:
    """A user of the host's, as Flask-Login has them."""

    username: str
    is_admin: bool = False
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> str:
        return self.username


@contextmanager
def told() -> Iterator[None]:
    """What the database refuses is told without values."""
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseError(f"The documents can't be used: {type(error).__name__}") from None


@contextmanager
def transaction(connection: sa.Connection, begin: str) -> Iterator[sa.Connection]:
    connection.exec_driver_sql(begin)
    try:
        yield connection
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


class Documents:
    """The table, as a connection sees it."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def find(self, kind: Kind, key: Key) -> Record | None:
        select = "SELECT document FROM documents WHERE kind = ? AND one = ? AND two = ?"
        text = self.connection.exec_driver_sql(select, (kind.name, *_columns(key))).scalar()
        return None if text is None else json.loads(text)

    def put(self, kind: Kind, record: Record) -> None:
        row = (kind.name, *_columns(kind.key_of(record)), json.dumps(record))
        self.connection.exec_driver_sql("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", row)

    def delete(self, kind: Kind, key: Key) -> None:
        delete = "DELETE FROM documents WHERE kind = ? AND one = ? AND two = ?"
        self.connection.exec_driver_sql(delete, (kind.name, *_columns(key)))

    def children(self, kind: Kind, key: Key) -> int:
        """How many records belong to one."""
        column = "two" if kind is USERS else "one"
        kinds = (OWNERS,) if kind is USERS else (RELEASES, OWNERS) if kind is PACKAGES else ()
        count = f"SELECT count(*) FROM documents WHERE kind = ? AND {column} = ?"
        return sum(
            self.connection.exec_driver_sql(count, (child.name, key[0])).scalar_one()
            for child in kinds
        )


def _columns(key: Key) -> Key:
    return key if len(key) == 2 else (*key, "")


class DocumentSnapshot(Documents):
    """See `Snapshot`."""

    order = "one, two"
    size = 100

    def count(self, kind: Kind) -> int:
        count = "SELECT count(*) FROM documents WHERE kind = ?"
        found: int = self.connection.exec_driver_sql(count, (kind.name,)).scalar_one()
        return found

    def batches(self, kind: Kind) -> Iterator[Batch]:
        with told():
            rows = self.connection.exec_driver_sql(
                f"SELECT document FROM documents WHERE kind = ? ORDER BY {self.order}", (kind.name,)
            )
            while texts := rows.scalars().fetchmany(self.size):
                records = [json.loads(text) for text in texts]
                fields = sorted(_FIELDS[kind.name])
                yield Batch({name: [each.get(name) for each in records] for name in fields})

    def keys(self, kind: Kind, *, hidden: bool = False) -> Iterator[Key]:
        for batch in self.batches(kind):
            yield from map(kind.key_of, batch.records())


class DocumentRestoration(Documents):
    """See `Restoration`."""

    def __init__(self, connection: sa.Connection, *, granted: bool, actor: str | None) -> None:
        super().__init__(connection)
        self.granted = granted
        self.actor = actor
        self.rows: dict[str, dict[int, tuple[Record, Action | None]]] = {}
        self.refused: dict[str, Mapping[int, str]] = {}

    def stage(
        self,
        kind: Kind,
        rows: Iterable[tuple[int, Record, Action | None]],
        refused: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.rows[kind.name] = {n: (record, action) for n, record, action in rows}
        self.refused[kind.name] = dict(refused)

    def compare(
        self,
        kind: Kind,
        *,
        blocking: bool = True,
        changes: bool = False,
        skip_new: bool = False,
        skip_same: bool = False,
    ) -> Iterator[Comparison]:
        for n, (record, action) in self.rows.get(kind.name, {}).items():
            with told():
                current = self.find(kind, kind.key_of(record))
                reason = self.problem(kind, n, record) if blocking else None
            compared = self._comparison(kind, n, record, current, reason, changes=changes)
            if not (skip_new and action == "create" and compared.state == "create"):
                yield compared

    def problem(self, kind: Kind, n: int, record: Record) -> str | None:
        """Why a record can't be written."""
        if n in self.refused[kind.name]:
            return self.refused[kind.name][n]
        key = kind.key_of(record)
        for parent, part in _PARENTS[kind.name]:
            label = parent.label(key[part : part + 1])
            staged = [
                number
                for number, (each, _) in self.rows.get(parent.name, {}).items()
                if parent.key_of(each) == key[part : part + 1]
            ]
            if any(number in self.refused[parent.name] for number in staged):
                return f"its {label} can't be restored"
            if not staged and self.find(parent, key[part : part + 1]) is None:
                return f"its {label} is neither in the registry nor in what is restored"
        return None

    def _comparison(
        self,
        kind: Kind,
        n: int,
        record: Record,
        current: Record | None,
        reason: str | None,
        *,
        changes: bool,
    ) -> Comparison:
        key = kind.key_of(record)
        written = self.written(kind, record)
        differs = tuple(
            name
            for name in written
            if current is not None
            and name not in _NOT_COMPARED
            and current.get(name) != written[name]
        )
        state: State = "create" if current is None else "conflict" if differs else "unchanged"
        here = bool(current and current.get(_RIGHT))
        there = kind is USERS and bool(record.get(_RIGHT, here))
        after = there if self.granted else here
        return Comparison(
            n=n,
            key=key,
            state=state if reason is None else "blocked",
            differs=differs,
            reason=reason,
            own=kind is USERS and key == (self.actor,),
            protected=(_RIGHT,) if there != here else (),
            holds=here,
            would_hold=(_RIGHT,) if kind is USERS and record.get(_RIGHT) else (),
            rights={_RIGHT: (_right(here), _right(after))} if kind is USERS else {},
            changes={
                name: self.change(name, (current or {}).get(name), record[name])
                for name in differs
                if changes
            },
        )

    def change(self, name: str, old: Any, new: Any) -> tuple[str | None, str | None] | None:
        return None if is_secret(name) else (_text(old), _text(new))

    def written(self, kind: Kind, record: Record) -> Record:
        """Of a record what would be written."""
        return {
            name: value
            for name, value in record.items()
            if name in _FIELDS[kind.name] and (self.granted or name != _RIGHT)
        }

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        with told(), transaction(self.connection, "BEGIN IMMEDIATE") as connection:
            yield connection

    def write(self, kind: Kind) -> None:
        with told():
            for record, action in self.rows.get(kind.name, {}).values():
                if action is not None:
                    self.write_one(kind, record, action)

    def write_one(self, kind: Kind, record: Record, action: Action) -> None:
        key = kind.key_of(record)
        current = self.find(kind, key)
        is_own = kind is USERS and key == (self.actor,)
        if is_own or (action == "create") != (current is None):
            raise DatabaseError("A record is another by now: nothing was changed. Start again.")
        if current is not None and not self.granted and (current.get(_RIGHT) or record.get(_RIGHT)):
            raise RightsError("An account that holds a right was to be replaced: grant it.")
        self.put(kind, {**(current or {}), **self.written(kind, record)})

    def write_all(self) -> None:
        for kind in KINDS:
            self.write(kind)

    def replaced(self, kind: Kind) -> Iterator[tuple[int, Record | None]]:
        for n, (record, action) in self.rows.get(kind.name, {}).items():
            if action == "overwrite":
                current = self.find(kind, kind.key_of(record)) or {}
                yield n, {name: current.get(name) for name in self.written(kind, record)}

    def rights(self) -> Mapping[tuple[str, str], int]:
        users = DocumentSnapshot(self.connection).batches(USERS)
        active = [each for batch in users for each in batch.records() if not each["deactivated_at"]]
        count = sum(1 for each in active if each[_RIGHT])
        return {(_RIGHT, "true"): count} if count else {}

    def still_hidden(self, kind: Kind) -> Iterator[Key]:
        return iter(())


def _right(holds: bool) -> str | None:
    return "true" if holds else None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


class DocumentUndoing:
    """See `Undoing`."""

    def __init__(self, left: DocumentRestoration, before: DocumentRestoration) -> None:
        self.left = left
        self.before = before
        self.stays: dict[str, list[tuple[int, Key]]] = {}

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        with self.left.decision() as connection:
            yield connection

    def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
        for restoration in (self.left, self.before):
            rows = restoration.rows.get(kind.name, {})
            for n in rows.keys() & {*numbers}:
                rows[n] = (rows[n][0], None)

    def remove(self) -> bool:
        self.stays = {kind.name: [] for kind in KINDS}
        # Children first: whoever has some by then keeps them.
        with told():
            for kind in reversed(KINDS):
                for n, (record, action) in self.left.rows.get(kind.name, {}).items():
                    key = kind.key_of(record)
                    if action == "create" and self.left.children(kind, key):
                        self.stays[kind.name].append((n, key))
                    elif action == "create":
                        self.left.delete(kind, key)
        return not any(self.stays.values())

    def referred(self, kind: Kind) -> Iterator[tuple[int, Key]]:
        yield from self.stays[kind.name]


class DocumentRegistry:
    """See `Registry`."""

    Restoration = DocumentRestoration
    Snapshot = DocumentSnapshot
    Undoing = DocumentUndoing
    #: What begins to read.
    begin = "BEGIN"

    def __init__(self, path: Path) -> None:
        self.engine = sa.create_engine(f"sqlite:///{path}")
        with self.engine.begin() as connection:
            connection.exec_driver_sql(_TABLE)

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A connection on which transactions begin and end by what is said, and not by
        themselves."""
        with told(), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def fields(self, kind: Kind) -> frozenset[str]:
        return _FIELDS[kind.name]

    def compared(self, kind: Kind) -> frozenset[str]:
        return _FIELDS[kind.name] - {*_NOT_COMPARED, _RIGHT}

    def check(self) -> None:
        """There is no mapping."""

    @contextmanager
    def snapshot(self) -> Iterator[DocumentSnapshot]:
        with self.connected() as connection, transaction(connection, self.begin):
            yield self.Snapshot(connection)

    @contextmanager
    def restoration(
        self, *, protected: bool, actor: str | None, overwrite: bool
    ) -> Iterator[DocumentRestoration]:
        with self.connected() as connection:
            yield self.Restoration(connection, granted=protected, actor=actor)

    @contextmanager
    def undoing(self, *, protected: bool, actor: str | None) -> Iterator[DocumentUndoing]:
        with self.connected() as connection:
            left, before = (
                self.Restoration(connection, granted=protected, actor=actor) for _ in range(2)
            )
            yield self.Undoing(left, before)

    def username_of(self, user: object) -> str | None:
        return user.username if isinstance(user, Member) else None

    def let_go(self) -> None:
        """There is no session."""


class DocumentConformance(RegistryConformance):
    right: ClassVar[Mapping[str, Any]] = {_RIGHT: True}

    @pytest.fixture
    def new_registry(self, tmp_path: Path) -> NewRegistry:
        number = itertools.count()
        return lambda: DocumentRegistry(tmp_path / f"{next(number)}.db")

    def store(self, registry: Registry, kind: Kind, record: Record) -> None:
        with registry.engine.begin() as connection:
            Documents(connection).put(kind, record)

    def delete(self, registry: Registry, kind: Kind, record: Record) -> None:
        with registry.engine.begin() as connection:
            Documents(connection).delete(kind, kind.key_of(record))
