"""One undo: what a restore left is held against the host's rows, then removed or replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from hexhub_backup.archive.records import KINDS, Key, Kind
from hexhub_backup.databases.errors import translated
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.queries import plain, same
from hexhub_backup.registry.restoration import SQLAlchemyRestoration
from hexhub_backup.registry.undoing.foreign_keys import ORDER, Referring, referring

# Beside `create` and `overwrite`, in the staged records of what was created.
_REFERRED = "referred"
#: So many rows are read at a time.
_PAGE = 5_000


class SQLAlchemyUndoing:
    """See `base.Undoing`. Both restorations are on one connection, each with its own tables."""

    def __init__(self, left: SQLAlchemyRestoration, before: SQLAlchemyRestoration) -> None:
        self._connection = left.connection
        self.left = left
        self.before = before
        self._referring: list[Referring] | None = None

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        with self.left.decision() as connection, self.before.inside_decision():
            yield connection

    def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
        with translated(f"The {kind.name} can not be compared"), self.left.in_transaction():
            for restoration in (self.left, self.before):
                table = restoration.staged(kind).staged.table
                self._connection.execute(
                    sa.update(table).where(table.c.n.in_(numbers)).values(action=None)
                )

    def remove(self) -> bool:
        with translated("The rows can not be removed, and nothing was changed"):
            if self._referring is None:
                self._referring = referring(self._connection, self.left.kinds)
            staged = {kind.name: self.left.staged(kind) for kind in KINDS if self.left.has(kind)}
            keys = [key for key in self._referring if key.kind in staged]
            for matched in staged.values():
                self._mark(matched, _REFERRED, "create")
            self._keep_referred(staged, keys)
            for key in keys:
                if key.of in staged and key.clears:
                    self._connection.execute(_clearing(staged[key.of], key))
            for name in ORDER:
                if name in staged:
                    self._delete(staged[name])
            return not any(map(self._has_referred, staged.values()))

    def referred(self, kind: Kind) -> Iterator[tuple[int, Key]]:
        if not self.left.has(kind):
            return
        table = self.left.staged(kind).staged.table
        page = sa.select(table.c.n, table.c.key).where(table.c.action == _REFERRED)
        page, last = page.order_by(table.c.n).limit(_PAGE), -1
        while True:
            with translated(f"The {kind.name} can not be read"):
                found = self._connection.execute(page.where(table.c.n > last)).all()
            if not found:
                return
            for n, key in found:
                yield n, tuple(json.loads(key))
            last = found[-1].n

    def _keep_referred(self, staged: dict[str, Matched], keys: list[Referring]) -> None:
        """A row that stays keeps what it refers to, and that in turn: until there is no more."""
        waiting = keys
        while waiting:
            kept = {
                key.kind
                for key in waiting
                if self._mark(staged[key.kind], "create", _REFERRED, _referred(staged, key))
            }
            # Only rows of ours that stay since then can have a say.
            waiting = [key for key in keys if key.of in kept]

    def _mark(
        self,
        matched: Matched,
        before: str,
        after: str,
        numbers: sa.Select[tuple[int]] | None = None,
    ) -> bool:
        table = matched.staged.table
        update = sa.update(table).where(table.c.action == before).values(action=after)
        if numbers is not None:
            update = update.where(table.c.n.in_(numbers))
        return self._connection.execute(update).rowcount > 0

    def _has_referred(self, matched: Matched) -> bool:
        table = matched.staged.table
        query = sa.select(table.c.n).where(table.c.action == _REFERRED).limit(1)
        return self._connection.execute(query).first() is not None

    def _delete(self, matched: Matched) -> None:
        """Delete, and see that they are gone: a trigger may keep a row without a word."""
        mapped, table = matched.staged.mapped, matched.staged.table
        rows = plain(mapped)
        identity = [same(rows, column) for column in mapped.identity]
        self._connection.execute(sa.delete(rows).where(sa.tuple_(*identity).in_(_removed(matched))))
        still_there = matched.select(sa.func.count(table.c.n)).where(
            table.c.action == "create", matched.found
        )
        count = self._connection.execute(still_there).scalar_one()
        if count:
            raise DatabaseError(
                f"{count:,} {mapped.kind.name} could not be removed, and nothing was changed: "
                "start again"
            )


def _referred(staged: dict[str, Matched], key: Referring) -> sa.Select[tuple[int]]:
    """The numbers of the rows to be removed to which rows refer that are not removed."""
    matched = staged[key.kind]
    mapped, table = matched.staged.mapped, matched.staged.table
    own: dict[str, ColumnElement[Any]] = {each.name: each for each in mapped.table.columns}
    for name in {*key.referred} - {*own}:
        # The host's models may not know of this column.
        own[name] = sa.table(mapped.table.name, sa.column(name), schema=mapped.table.schema).c[name]
    other = key.table.alias("referring")
    on = [
        other.c[column] == own[referred]
        for column, referred in zip(key.columns, key.referred, strict=True)
    ]
    select = sa.select(table.c.n).select_from(matched.source.join(other, sa.and_(*on)))
    select = select.where(table.c.action == "create")
    if key.of in staged and not key.lasting:
        identity = [other.c[column.name] for column in staged[key.of].staged.mapped.identity]
        stays = sa.tuple_(*identity).not_in(_removed(staged[key.of]))
        select = select.where(sa.or_(stays, *(column.is_(None) for column in identity)))
    return select.correlate(None)


def _removed(matched: Matched) -> sa.Select[tuple[object, ...]]:
    """The identities of the rows that are to be removed."""
    return (
        matched.select(*matched.staged.mapped.identity)
        .where(matched.staged.table.c.action == "create", matched.found)
        .correlate(None)
    )


def _clearing(matched: Matched, key: Referring) -> sa.Update:
    """Let the rows that are to be removed refer to nothing by this key."""
    identity = [key.table.c[column.name] for column in matched.staged.mapped.identity]
    return (
        sa.update(key.table)
        .where(sa.tuple_(*identity).in_(_removed(matched)))
        .values({column: sa.null() for column in key.clears})
    )
