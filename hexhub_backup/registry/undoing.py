"""One undo: what a restore left is held against the host's rows, then removed or replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from hexhub_backup.archive.records import Key, Kind
from hexhub_backup.database_errors import translated
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.matching import Matched
from hexhub_backup.registry.queries import same
from hexhub_backup.registry.referring import Referring, referring
from hexhub_backup.registry.restoration import SQLAlchemyRestoration
from hexhub_backup.registry.writing import plain

# Beside `create` and `overwrite`, in the staged records of what was created.
_REFERRED = "referred"


class SQLAlchemyUndoing:
    """See `base.Undoing`. Both restorations are on one connection, each with its own tables."""

    def __init__(
        self,
        connection: sa.Connection,
        left: SQLAlchemyRestoration,
        before: SQLAlchemyRestoration,
    ) -> None:
        self._connection = connection
        self.left = left
        self.before = before
        self._referring: Mapping[str, list[Referring]] | None = None

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        with self.left.decision() as connection, self.before.inside_decision():
            yield connection

    def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
        with translated(f"The {kind.name} can not be compared"):
            for restoration in (self.left, self.before):
                table = restoration.staged(kind).staged.table
                self._connection.execute(
                    sa.update(table).where(table.c.n.in_(numbers)).values(action=None)
                )

    def remove(self, kind: Kind) -> Iterator[tuple[int, Key]]:
        if not self.left.has(kind):
            return
        matched = self.left.staged(kind)
        table = matched.staged.table
        with translated(f"The {kind.name} can not be removed, and nothing was changed"):
            if self._referring is None:
                self._referring = referring(self._connection, self.left.kinds)
            self._spare_referred(matched, self._referring[kind.name])
            referred = self._connection.execute(
                sa.select(table.c.n, table.c.key)
                .where(table.c.action == _REFERRED)
                .order_by(table.c.n)
            ).all()
            wanted = self._connection.execute(
                sa.select(sa.func.count()).where(table.c.action == "create")
            ).scalar_one()
            removed = self._connection.execute(_deletion(matched)).rowcount
        if removed != wanted:
            raise DatabaseError(
                f"Only {removed:,} instead of {wanted:,} {kind.name} could be removed, and nothing "
                "was changed: start again"
            )
        for n, key in referred:
            yield n, tuple(json.loads(key))

    def _spare_referred(self, matched: Matched, keys: list[Referring]) -> None:
        """Rows that stay may refer to others of their table: until there are no more."""
        table = matched.staged.table
        found = True
        while found:
            found = False
            for key in keys:
                numbers = _referred(matched, key)
                done = self._connection.execute(
                    sa.update(table)
                    .where(table.c.action == "create", table.c.n.in_(numbers))
                    .values(action=_REFERRED)
                )
                found = found or (key.of_itself and done.rowcount > 0)


def _referred(matched: Matched, key: Referring) -> sa.Select[tuple[int]]:
    """The numbers of the rows that others refer to, which are not removed themselves."""
    mapped, table = matched.staged.mapped, matched.staged.table
    other = key.table.alias("referring")
    on = [
        other.c[column] == mapped.table.c[referred]
        for column, referred in zip(key.columns, key.referred, strict=True)
    ]
    select = sa.select(table.c.n).select_from(matched.source.join(other, sa.and_(*on)))
    select = select.where(table.c.action == "create")
    if key.of_itself:
        identity = sa.tuple_(*(other.c[column.name] for column in mapped.identity))
        select = select.where(identity.not_in(_removed(matched)))
    return select.correlate(None)


def _removed(matched: Matched) -> sa.Select[tuple[object, ...]]:
    """The identities of the rows that are to be removed."""
    return (
        matched.select(*matched.staged.mapped.identity)
        .where(matched.staged.table.c.action == "create", matched.found)
        .correlate(None)
    )


def _deletion(matched: Matched) -> sa.Delete:
    mapped = matched.staged.mapped
    table = plain(mapped)
    identity = [same(table, column) for column in mapped.identity]
    return sa.delete(table).where(sa.tuple_(*identity).in_(_removed(matched)))
