"""An archive's records as rows of a temporary table, beside the table they are meant for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from hexhub_backup.archive.records import USERS, Record
from hexhub_backup.database import savepoint
from hexhub_backup.database_errors import is_of_a_value
from hexhub_backup.registry.base import Action
from hexhub_backup.registry.codecs import CodecError, misfit_of
from hexhub_backup.registry.mapping import Filler, MappedField, MappedKind
from hexhub_backup.registry.passwords import scheme
from hexhub_backup.registry.transactions import BATCH

#: Bits of the column `flags`.
TOTP_ENABLED = 1
UNKNOWN_PASSWORD = 2

#: So many bytes of records, roughly, are in memory at a time; their rows, and the host's beside
#: them, take a multiple of that.
_BATCH_BYTES = 2 * 1024 * 1024

_Row = tuple[int, Record, Action | None]

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# What a column's type or the host's own code may raise for a value.
_VALUE_ERRORS = (SQLAlchemyError, ValueError, TypeError, LookupError, ArithmeticError)


class Staged:
    """The temporary table of one kind.

    Columns: `n`, `key` (a JSON array), `action`, `shape` (one digit for each field, 1 where the
    record has it), `flags`, `problem` (why it can never be written), `problem_on_create`, then
    `values` by field and `made`, what the client gives a new row, by column. Of the columns'
    own types, so that the database compares them as its own.
    """

    def __init__(self, mapped: MappedKind, *, granted: bool, name: str = "in") -> None:
        """`name` tells the tables of two restorations on one connection apart."""
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
            sa.Column("n", _BIG, primary_key=True, autoincrement=False),
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
        self.has_action = sa.Index(
            f"{self.table.name}_action", self.table.c.action, self.table.c.shape
        )
        self.has_key = sa.Index(
            f"{self.table.name}_key", *(self.values[name] for name in mapped.kind.key)
        )

    def has(self, field: MappedField) -> sa.ColumnElement[bool]:
        """Whether the record has the field."""
        at = self.mapped.fields.index(field)
        return sa.func.substr(self.table.c.shape, at + 1, 1) == "1"

    def writes(self, field: MappedField) -> bool:
        """Whether a restore takes the field from the archive at all."""
        return (self._granted or not field.protected) and not self.is_totp(field)

    def is_totp(self, field: MappedField) -> bool:
        return self.mapped.kind is USERS and field.name == "totp_enabled"

    def create(self, connection: sa.Connection) -> None:
        # The constructs, not Table.create: that would also create and drop native enum types.
        connection.execute(CreateTable(self.table))

    def load(
        self,
        connection: sa.Connection,
        rows: Iterable[tuple[int, Record, Action | None]],
        refused: Mapping[int, str],
    ) -> list[int]:
        """Decode and insert; within a transaction. What does not fit becomes a `problem`, and so
        does what `refused` says of a number.

        Returns pages: numbers in order, up to each of which there are only so many rows more, or
        bytes of them, as memory is meant to hold.
        """
        pages: list[int] = []
        decode = _Decoder(self, connection.dialect)
        insert = sa.insert(self.table)
        for records in _batches(rows):
            batch = [decode.row(n, record, action) for n, record, action in records]
            for row in batch:
                row["problem"] = refused.get(row["n"], row["problem"])
            pages.append(max(row["n"] for row in batch))
            try:
                with savepoint(connection):
                    connection.execute(insert, batch)
            except _VALUE_ERRORS as error:
                if not is_of_a_value(error):
                    raise
                for row in batch:
                    self._load_one(connection, row)
        if not pages:
            return []
        for at, name in enumerate(decode.json_nullable):
            connection.execute(
                sa.update(self.table)
                .where(sa.func.substr(self.table.c.nulls, at + 1, 1) == "1")
                .values({self.values[name].name: sa.null()})
            )
        for index in (self.has_action, self.has_key):
            connection.execute(CreateIndex(index))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"ANALYZE {self.table.name}")
        return sorted(pages)

    def _load_one(self, connection: sa.Connection, row: dict[str, Any]) -> None:
        """Insert what the database takes of the row; what it refuses becomes a `problem`."""
        if self._taken(connection, sa.insert(self.table), row):
            return
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
                    found["problem"] = found["problem"] or (
                        f"the database refuses its {field.name}: correct it where it came from"
                    )
        for name, column in self.made.items():
            if column.name in refused:
                found["problem_on_create"] = _made_problem(
                    self.mapped.fillers[name], "gives a value that the database refuses"
                )
        connection.execute(update, found)

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


def _made_problem(filler: Filler, what: str) -> str:
    """Why a record can not be created: what the client gives a column does not work."""
    name = filler.column.name
    if filler.by_host:
        return f"what on_create= says for column {name} {what}: correct it there"
    return (
        f"the default of column {name} {what}: correct the default, or give the column a value, "
        f'on_create={{"{name}": …}}'
    )


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows in the order in which they come, a batch at a time: few where they are large."""
    batch: list[_Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(repr(row[1]))
        if len(batch) == BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


#: The record does not have the field, or nothing that the column could take over.
_ABSENT: Any = object()


@dataclass(frozen=True)
class _Column:
    field: MappedField
    parameter: str
    misfit: Callable[[Any], str | None] | None
    holds_null: bool
    required: bool
    password: bool


class _Decoder:
    """Records to parameters of the temporary table's INSERT."""

    def __init__(self, staged: Staged, dialect: sa.Dialect) -> None:
        mapped = staged.mapped
        self._staged = staged
        self._kind = mapped.kind
        self._columns = [
            _Column(
                field=field,
                parameter=staged.values[field.name].name,
                misfit=misfit_of(field.column.type.dialect_impl(dialect), dialect.name),
                holds_null=_holds_null(field.column, dialect),
                required=not field.key and staged.writes(field) and _is_required(field, mapped),
                password=mapped.kind is USERS and field.name == "password_hash",
            )
            for field in mapped.fields
        ]
        self.json_nullable = [
            column.field.name
            for column in self._columns
            if column.holds_null and column.field.own.nullable
        ]
        writable = {field.own.name: field.name for field in mapped.fields if staged.writes(field)}
        self._makers = [
            (name, column.name, mapped.fillers[name].make, writable.get(name))
            for name, column in staged.made.items()
        ]

    def row(self, n: int, record: Record, action: Action | None) -> dict[str, Any]:
        """One record; what it can not be is in `problem`."""
        row: dict[str, Any] = {
            "n": n,
            "key": json.dumps(self._kind.key_of(record), ensure_ascii=False),
            "action": action,
            "flags": self._flags(record),
            "problem": None,
            "problem_on_create": None,
        }
        shape: dict[str, str] = {}
        by_column: dict[str, Any] = {}
        for column in self._columns:
            field, value = column.field, _ABSENT
            if field.name in record and not self._staged.is_totp(field):
                try:
                    value = self._decode(column, record[field.name])
                except CodecError as error:
                    if self._staged.writes(field):
                        row["problem"] = row["problem"] or f"its {field.name} {error}"
            has = value is not _ABSENT
            if column.required and not has:
                row["problem_on_create"] = (
                    f"it has no {field.name}, and a new row can not be without it: add it where "
                    "the archive was made, give the column a default, or give it a value, "
                    f'on_create={{"{field.own.name}": …}}'
                )
            shape[field.name] = "1" if has else "0"
            row[column.parameter] = value if has else None
            if has:
                by_column[field.own.name] = value
        row["shape"] = "".join(shape.values())
        row["nulls"] = "".join(
            "1" if record.get(name) is None else "0" for name in self.json_nullable
        )
        for name, parameter, make, field_name in self._makers:
            row[parameter] = None
            if make is not None and (field_name is None or shape[field_name] == "0"):
                try:
                    row[parameter] = by_column[name] = make(by_column)
                except Exception as error:
                    row["problem_on_create"] = _made_problem(
                        self._staged.mapped.fillers[name], f"raised {type(error).__name__}"
                    )
        return row

    def _decode(self, column: _Column, value: Any) -> Any:
        """The column's value, or `_ABSENT`. Raises CodecError for one that it can not hold."""
        field = column.field
        if value is None:
            if field.own.nullable or column.holds_null:
                return None
            filler = self._staged.mapped.fillers.get(field.own.name)
            if filler is not None and filler.by_host:
                return _ABSENT
            raise CodecError("is null, and the column is NOT NULL: give it a value by on_create=")
        try:
            decoded = field.codec.decode(value)
        except CodecError as error:
            raise CodecError(f"{error}: correct it where the archive was made") from None
        problem = None if column.misfit is None else column.misfit(decoded)
        if problem is not None:
            raise CodecError(f"{problem}: widen the column, or correct the value")
        if column.password and isinstance(decoded, str) and scheme(decoded) == "out of bounds":
            raise CodecError(
                "is malformed, or would cost too much at each log-in: set a new password where "
                "the archive was made"
            )
        return decoded

    def _flags(self, record: Record) -> int:
        if self._kind is not USERS:
            return 0
        password = record.get("password_hash")
        unknown = isinstance(password, str) and scheme(password) == "unknown"
        return (TOTP_ENABLED if record.get("totp_enabled") is True else 0) | (
            UNKNOWN_PASSWORD if unknown else 0
        )


def _holds_null(column: sa.Column[Any], dialect: sa.Dialect) -> bool:
    """Whether None is a value to the column's type, as `null` is to JSON's."""
    try:
        processor = column.type.dialect_impl(dialect).bind_processor(dialect)
        return processor is not None and processor(None) is not None
    except _VALUE_ERRORS:
        return False


def _is_required(field: MappedField, mapped: MappedKind) -> bool:
    column = field.own
    return not (
        column.nullable
        or column.name in mapped.fillers
        or column.server_default is not None
        or column is mapped.table.autoincrement_column
    )
