"""An archive's records as rows of a temporary table, beside the table they are meant for."""

from __future__ import annotations

import marshal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hexhub_backup.archive.records import USERS
from hexhub_backup.databases.connections import savepoint
from hexhub_backup.databases.errors import is_of_a_value
from hexhub_backup.databases.known import database_of
from hexhub_backup.databases.loading import Loader
from hexhub_backup.databases.types import NUMBER
from hexhub_backup.marking import marked
from hexhub_backup.registry.comparing.decoding import Decoder, Row, made_problem
from hexhub_backup.registry.mapping.mapped_kinds import MappedField, MappedKind

#: So many records are written at a time.
_BATCH = 1000
#: So many are decoded at a time: more would bring on collections of garbage.
_FEW = 50
#: So many bytes of records, roughly, are in memory at a time; their rows, and the host's beside
#: them, take a multiple of that.
_BATCH_BYTES = 2 * 1024 * 1024

# What a column's type may raise for a value.
_VALUE_ERRORS = (SQLAlchemyError, ValueError, TypeError, LookupError, ArithmeticError)


class Loaded(NamedTuple):
    """What was staged of one kind: `pages`, numbers in order, up to each of which there are only so
    many rows more, or bytes of them, as memory is meant to hold; and whether some of the records
    have a `problem`."""

    pages: list[int]
    has_problems: bool


class Staged:
    """The temporary table that a restoration stages the records of one kind in.

    Columns: `n`, `key` (a JSON array), `action`, `shape` (one digit for each field, 1 where the
    record has it), `flags`, `problem` (why it can never be written), `problem_on_create`, then
    `values` by field and `made`, what the client gives a new row, by column. Of the columns'
    own types, so that the database compares them as its own.
    """

    def __init__(self, mapped: MappedKind, name: str, *, granted: bool) -> None:
        """`name` tells the tables of two restorations on one connection apart; `granted` says that
        protected fields are written."""
        self.mapped = mapped
        self._granted = granted
        self.values = {
            field.name: sa.Column(f"f{at}", field.column.type)
            for at, field in enumerate(mapped.fields)
        }
        self.made = {
            name: sa.Column(f"d{at}", filler.column.type)
            for at, (name, filler) in enumerate(mapped.fillers.items())
            if filler.make is not None
        }
        self.table = sa.Table(
            f"hexhub_backup_{name}_{mapped.kind.name}",
            sa.MetaData(),
            sa.Column("n", NUMBER, primary_key=True, autoincrement=False),
            sa.Column("key", sa.Text(), nullable=False),
            sa.Column("action", sa.Text()),
            sa.Column("shape", sa.Text(), nullable=False),
            sa.Column("nulls", sa.Text(), nullable=False),
            sa.Column("flags", sa.Integer(), nullable=False),
            sa.Column("problem", sa.Text()),
            sa.Column("problem_on_create", sa.Text()),
            *self.values.values(),
            *self.made.values(),
            prefixes=["TEMPORARY"],
        )
        self._indexes = (
            sa.Index(f"{self.table.name}_action", self.table.c.action, self.table.c.shape),
            sa.Index(f"{self.table.name}_key", *(self.values[name] for name in mapped.kind.key)),
        )

    def has(self, field: MappedField) -> sa.ColumnElement[bool]:
        """Whether the record has the field."""
        at = self.mapped.fields.index(field)
        return sa.func.substr(self.table.c.shape, at + 1, 1) == "1"

    def writes(self, field: MappedField) -> bool:
        """Whether a restore takes the field from the archive at all."""
        return (self._granted or not field.protected) and not self.is_totp(field)

    @property
    def integers(self) -> dict[str, sa.Column[Any]]:
        """What is written into the host's columns of integers, by their names."""
        return {
            field.own.name: self.values[field.name]
            for field in self.mapped.fields
            if isinstance(field.own.type, sa.Integer) and self.writes(field) and not field.looked_up
        }

    def is_totp(self, field: MappedField) -> bool:
        return self.mapped.kind is USERS and field.name == "totp_enabled"

    def create(self, connection: sa.Connection) -> None:
        like = {self.values[field.name].name: field.column for field in self.mapped.fields}
        made = {self.made[name].name: self.mapped.fillers[name].column for name in self.made}
        database_of(connection).create_temporary(connection, self.table, like | made, self._indexes)

    def drop(self, connection: sa.Connection) -> None:
        database_of(connection).drop_temporary(connection, self.table)

    def load(
        self,
        connection: sa.Connection,
        rows: Iterable[Row],
        refused: Mapping[int, str],
    ) -> Loaded:
        """Decode and insert; within a transaction. What does not fit becomes a `problem`, and so
        does what `refused` says of a number."""
        pages: list[int] = []
        has_problems = False
        decode = Decoder(self.mapped, self.values, self.made, self.writes, connection)
        load = Loader(connection, self.table)
        for columns in _batches(rows, decode):
            if refused:
                found = zip(columns["n"], columns["problem"], strict=True)
                columns["problem"] = [refused.get(n, problem) for n, problem in found]
            pages.append(max(columns["n"]))
            if any(columns["problem"]) or any(columns["problem_on_create"]):
                has_problems = True
            try:
                with savepoint(connection):
                    load(columns)
            except _VALUE_ERRORS as error:
                if not is_of_a_value(error):
                    raise
                for row in zip(*columns.values(), strict=True):
                    row_taken = self._load_one(connection, dict(zip(columns, row, strict=True)))
                    has_problems |= not row_taken
        if not pages:
            return Loaded([], has_problems=False)
        for at, name in enumerate(decode.json_nullable):
            connection.execute(
                sa.update(self.table)
                .where(sa.func.substr(self.table.c.nulls, at + 1, 1) == "1")
                .values({self.values[name].name: sa.null()})
            )
        database_of(connection).index_temporary(connection, self.table, self._indexes)
        return Loaded(sorted(pages), has_problems)

    def _load_one(self, connection: sa.Connection, row: dict[str, Any]) -> bool:
        """Insert what the database takes of the row; what it refuses becomes a `problem`. Whether
        it took all of it."""
        if self._taken(connection, sa.insert(self.table), row):
            return True
        parameters = [column.name for column in (*self.values.values(), *self.made.values())]
        nothing = {name: sa.null() for name in parameters}
        connection.execute(sa.insert(self.table).values(row | nothing))
        update = sa.update(self.table).where(self.table.c.n == row["n"])
        refused = {
            name for name in parameters if not self._taken(connection, update, {name: row[name]})
        }
        found = {name: row[name] for name in ("shape", "problem", "problem_on_create")}
        for at, field in enumerate(self.mapped.fields):
            if self.values[field.name].name in refused:
                found["shape"] = found["shape"][:at] + "0" + found["shape"][at + 1 :]
                if self.writes(field):
                    found["problem"] = found["problem"] or marked(
                        f"the database refuses its {field.name}: correct it where it came from"
                    )
        for name, column in self.made.items():
            if column.name in refused:
                found["problem_on_create"] = made_problem(
                    self.mapped.fillers[name], marked("gives a value that the database refuses")
                )
        connection.execute(update, found)
        return False

    @staticmethod
    def _taken(
        connection: sa.Connection, statement: sa.Insert | sa.Update, values: dict[str, Any]
    ) -> bool:
        try:
            with savepoint(connection):
                connection.execute(statement, values)
        except _VALUE_ERRORS as error:
            if not is_of_a_value(error):
                raise
            return False
        return True


def _batches(rows: Iterable[Row], decode: Decoder) -> Iterator[dict[str, Sequence[Any]]]:
    """Rows as columns, in the order in which they come, a batch at a time: few where they are
    large."""
    columns: dict[str, list[Any]] = defaultdict(list)
    some: list[Row] = []
    count = size = 0
    for row in rows:
        some.append(row)
        count += 1
        # The quickest way to see how large it is.
        size += len(marshal.dumps(row[1], 2))
        is_full = count == _BATCH or size >= _BATCH_BYTES
        if is_full or len(some) == _FEW:
            for name, values in decode.columns(some).items():
                columns[name] += values
            some.clear()
        if is_full:
            yield dict(columns)
            columns.clear()
            count = size = 0
    for name, values in decode.columns(some).items() if some else ():
        columns[name] += values
    if columns:
        yield dict(columns)
