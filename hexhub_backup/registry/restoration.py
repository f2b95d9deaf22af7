"""One restore: records are staged, compared with the host's rows, and written in one decision."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS, USERS, Key, Kind, Record
from hexhub_backup.databases.base import clean_up
from hexhub_backup.databases.connections import decision, transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError, RightsError
from hexhub_backup.marking import marked
from hexhub_backup.registry.base import Action, Comparison
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.prepared import ACTOR, Prepared
from hexhub_backup.registry.comparing.rights import rights_held
from hexhub_backup.registry.comparing.staging import Loaded, Staged
from hexhub_backup.registry.comparing.unique_conflicts import Rule
from hexhub_backup.registry.comparing.unique_indexes import ReflectedTable, reflected
from hexhub_backup.registry.deciding.bisection import write_or_refuse
from hexhub_backup.registry.deciding.writing import insertion, overwritten_fields, update
from hexhub_backup.registry.mapping.codecs import CodecError
from hexhub_backup.registry.mapping.mapped_kinds import MappedField
from hexhub_backup.registry.queries import visible


class SQLAlchemyRestoration:
    """See `base.Restoration`. `connection` is one of `connections.connected`.

    Everything staged lives in temporary tables of the connection: no lock is held between the
    calls, and others see nothing of it.
    """

    def __init__(self, connection: sa.Connection, prepared: Prepared, *, actor: str | None) -> None:
        self.connection = connection
        self._prepared = prepared
        self.kinds = prepared.kinds
        self._actor = {ACTOR: _value(self.kinds[USERS.name].keys[0], actor)}
        self._deciding = False
        self._matched = prepared.matched
        self._staged = prepared.staged
        self._blocked = prepared.blocked
        self._rules: dict[str, list[Rule]] = {}
        self._tables: dict[str, ReflectedTable] = {}
        #: Of each kind that was staged.
        self._loaded: dict[str, Loaded] = {}
        try:
            with translated("The archive can not be staged"), self.in_transaction():
                database_of(connection).create_temporary(connection, self._blocked, {}, ())
                for staged in self._staged.values():
                    staged.create(connection)
        except BaseException:
            # MariaDB rolls back no temporary table, and the next one would find it.
            self.close()
            raise

    def close(self) -> None:
        """Drop what was staged; a connection on which that fails is not used again."""
        clean_up(self.connection, self._drop)

    def _drop(self) -> None:
        with transaction(self.connection):
            database_of(self.connection).drop_temporary(self.connection, self._blocked)
            for staged in self._staged.values():
                staged.drop(self.connection)

    def stage(
        self,
        kind: Kind,
        rows: Iterable[tuple[int, Record, Action | None]],
        refused: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        with translated(f"The {kind.name} of the archive can not be staged"), self.in_transaction():
            self._loaded[kind.name] = self._staged[kind.name].load(self.connection, rows, refused)

    def compare(
        self,
        kind: Kind,
        *,
        blocking: bool = True,
        changes: bool = False,
        skip_new: bool = False,
        skip_same: bool = False,
    ) -> Iterator[Comparison]:
        if not self.has(kind):
            return
        is_empty = False
        with translated(f"The {kind.name} can not be compared"), self.in_transaction():
            if blocking:
                is_empty = self._is_empty(kind)
                self._block(kind, is_empty=is_empty)
        comparer, rules = self._prepared.comparers[kind.name], self._rules.get(kind.name, [])
        select = comparer.select(skip_new=skip_new, skip_same=skip_same, is_empty=is_empty)
        for row in self._by_page(kind, select, marked(f"The {kind.name} can not be compared")):
            yield comparer.comparison(row, rules, changes=changes)

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        tables = [self.kinds[kind.name].table for kind in KINDS]
        with (
            translated("It can not be written, and nothing was changed"),
            decision(self.connection, tables),
            self.inside_decision(),
        ):
            yield self.connection

    @contextmanager
    def inside_decision(self) -> Iterator[None]:
        """Take part in the transaction that the connection is in."""
        self._deciding = True
        try:
            yield
        finally:
            self._deciding = False

    def write(self, kind: Kind) -> None:
        with translated(f"The {kind.name} can not be written, and nothing was changed"):
            self.write_part(kind)

    def write_all(self) -> None:
        with translated("The records can not be written, and nothing was changed"):
            write_or_refuse(self.connection, self)

    def write_part(self, kind: Kind, within: sa.ColumnElement[bool] | None = None) -> None:
        """Write what was staged of a kind, only what is `within`. Raises SQLAlchemyError."""
        if not self._deciding:
            raise RuntimeError("records are written inside of decision()")
        if not self.has(kind):
            return
        if kind is USERS and not self._prepared.granted:
            self._refuse_privileged()
        staged, matched = self._staged[kind.name], self._matched[kind.name]
        for action, statement in (("create", insertion), ("overwrite", update)):
            for shape, count in self._shapes(staged, action, within):
                written = count
                dialect = self.connection.dialect
                writing = statement(matched, shape, self._actor[ACTOR], dialect, within)
                if writing is not None:
                    written = self.connection.execute(
                        writing, execution_options={"preserve_rowcount": True}
                    ).rowcount
                if written != count:
                    raise DatabaseError(
                        f"Only {written:,} instead of {count:,} {kind.name} could be written, "
                        "and nothing was changed: start again"
                    )
        database_of(self.connection).move_sequences(
            self.connection,
            staged.mapped.table,
            staged.integers,
            staged.table.c.action.is_not(None),
        )

    def settle(self) -> None:
        """Have the database look now at what it would look at on commit."""
        database_of(self.connection).check_constraints(self.connection)

    def refuse(self, kind: Kind, n: int, reason: str) -> None:
        """Block a record, and do not write it."""
        self._loaded[kind.name] = self._loaded[kind.name]._replace(has_problems=True)
        table = self._staged[kind.name].table
        self.connection.execute(
            sa.update(table).where(table.c.n == n).values(action=None, problem=reason)
        )
        self.connection.execute(
            sa.insert(self._blocked).values(kind=kind.name, n=n, rule=0, other=reason)
        )

    def spare_blocked(self, kind: Kind) -> None:
        """Leave out what is blocked by now, as by a parent that the database refused."""
        self._block(kind, is_empty=self._is_empty(kind))
        table, blocked = self._staged[kind.name].table, self._blocked
        numbers = sa.select(blocked.c.n).where(blocked.c.kind == kind.name)
        self.connection.execute(sa.update(table).where(table.c.n.in_(numbers)).values(action=None))

    def staged_table(self, kind: Kind) -> sa.Table | None:
        """Where the records of a kind are staged; None where there are none."""
        return self._staged[kind.name].table if self.has(kind) else None

    def replaced(self, kind: Kind) -> Iterator[tuple[int, Record | None]]:
        if not self.has(kind):
            return
        matched, table = self._matched[kind.name], self._staged[kind.name].table
        fields = overwritten_fields(matched)
        select = matched.select(
            table.c.n,
            table.c.key,
            table.c.shape,
            *(matched.current[field.name].label(f"r{at}") for at, field in enumerate(fields)),
        ).where(table.c.action == "overwrite")
        places = [matched.staged.mapped.fields.index(field) for field in fields]
        for n, key, shape, *values in self._by_page(
            kind, select, marked(f"The {kind.name} can not be read")
        ):
            record: Record | None = dict(zip(kind.key, json.loads(key), strict=True))
            try:
                for field, place, value in zip(fields, places, values, strict=True):
                    # The second factor is written whatever the archive has.
                    if record is not None and (
                        shape[place] == "1" or matched.staged.is_totp(field)
                    ):
                        record[field.name] = None if value is None else field.codec.encode(value)
            except CodecError:
                record = None
            yield n, record

    def _by_page(self, kind: Kind, select: sa.Select[Any], doing: str) -> Iterator[Any]:
        """The rows of a select over what was staged, in order of n. By pages, as who takes them
        may be slow, and a long read keeps a writer waiting where SQLite has no WAL."""
        n = self._staged[kind.name].table.c.n
        after: int | None = None
        for last in self._loaded[kind.name].pages:
            page = select.where(n <= last)
            if after is not None:
                page = page.where(n > after)
            with translated(doing), self.in_transaction():
                rows = self._fetch(kind, page.order_by(n))
            yield from rows
            after = last

    def rights(self) -> Mapping[tuple[str, str], int]:
        with translated("The rights of the users can not be read"), self.in_transaction():
            return rights_held(self.connection, self.kinds)

    def still_hidden(self, kind: Kind) -> Iterator[Key]:
        if not self.has(kind):
            return
        matched, table = self._matched[kind.name], self._staged[kind.name].table
        shown = sa.case((visible(self.kinds[kind.name], self.kinds), 1), else_=0)
        hidden = matched.select(table.c.key).where(
            table.c.action.is_not(None), matched.found, shown == 0
        )
        for (key,) in self._by_page(kind, hidden, marked(f"The {kind.name} can not be read")):
            yield tuple(json.loads(key))

    def has(self, kind: Kind) -> bool:
        """Whether anything of the kind was staged."""
        loaded = self._loaded.get(kind.name)
        return loaded is not None and bool(loaded.pages)

    def staged(self, kind: Kind) -> Matched:
        """What was staged, beside the host's rows."""
        return self._matched[kind.name]

    def in_transaction(self) -> AbstractContextManager[None]:
        """That of the decision, or one of its own."""
        return nullcontext() if self._deciding else transaction(self.connection)

    def _refuse_privileged(self) -> None:
        """Without a grant nobody becomes a privileged account, whatever was staged."""
        matched, rights = self._matched[USERS.name], self._prepared.rights[USERS.name]
        overwritten = matched.staged.table.c.action == "overwrite"
        select = matched.select(sa.func.count()).where(
            overwritten, sa.or_(rights.here, *rights.archived)
        )
        if rights.fields and self.connection.execute(select).scalar_one():
            raise RightsError(
                "An account that holds a protected right was to be replaced without a grant, and "
                "nothing was changed: start again, or grant it."
            )

    # --- comparing -----------------------------------------------------------------------

    def _block(self, kind: Kind, *, is_empty: bool) -> None:
        """Find out anew which records of the kind are blocked."""
        blocking = self._prepared.blocking(
            kind,
            self._table_of(kind),
            is_empty=is_empty,
            has_problems=self._loaded[kind.name].has_problems,
        )
        self._rules[kind.name] = blocking.rules
        blocked = self._blocked
        self.connection.execute(sa.delete(blocked).where(blocked.c.kind == kind.name))
        for statement in blocking.statements:
            self.connection.execute(statement)

    def _is_empty(self, kind: Kind) -> bool:
        any_row = sa.select(sa.literal(1)).select_from(self.kinds[kind.name].table).limit(1)
        return self.connection.execute(any_row).first() is None

    def _table_of(self, kind: Kind) -> ReflectedTable:
        # Once: an index that is made after that is the database's to hold.
        if kind.name not in self._tables:
            self._tables[kind.name] = reflected(self.connection, self.kinds[kind.name])
        return self._tables[kind.name]

    def _fetch(self, kind: Kind, select: sa.Select[Any]) -> list[Any]:
        try:
            return list(self.connection.execute(select, self._actor).all())
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            # The column's own type could not make a value of what is stored.
            raise DatabaseError(
                f"A row of {self.kinds[kind.name].label} holds what is not of its column's type "
                f"({type(error).__name__}): make a backup, which names it, and correct the row"
            ) from None

    def _shapes(
        self, staged: Staged, action: str, within: sa.ColumnElement[bool] | None
    ) -> list[Any]:
        table = staged.table
        return list(
            self.connection.execute(
                sa.select(table.c.shape, sa.func.count())
                .where(table.c.action == action, *(() if within is None else (within,)))
                .group_by(table.c.shape)
                .order_by(table.c.shape)
            ).all()
        )


def _value(field: MappedField, key: str | None) -> Any:
    """The acting admin's key as the column has it; None for one that it can not have."""
    try:
        return None if key is None else field.codec.decode(key)
    except CodecError:
        return None
