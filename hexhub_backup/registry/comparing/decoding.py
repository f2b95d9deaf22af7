"""An archive's records as what the columns of a staging table hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hexhub_backup.archive.records import USERS, Record, as_json
from hexhub_backup.databases.base import Misfit
from hexhub_backup.databases.known import database_of
from hexhub_backup.marking import marked
from hexhub_backup.registry.base import Action
from hexhub_backup.registry.comparing.passwords import scheme
from hexhub_backup.registry.mapping.codecs import CodecError
from hexhub_backup.registry.mapping.mapped_kinds import Filler, MappedField, MappedKind

#: Bits of the column `flags`.
TOTP_ENABLED = 1
UNKNOWN_PASSWORD = 2

#: A record with its number, and what a restore does with it.
Row = tuple[int, Record, Action | None]
_Make = Callable[[Mapping[str, Any]], Any]

#: The record does not have the field, or nothing that the column could take over.
_ABSENT: Any = object()


@dataclass(frozen=True)
class _Column:
    """A field's column of the staging table, and what its values have to be."""

    field: MappedField
    parameter: str
    #: The archive may have the field: it never has the second factor.
    archived: bool
    #: A restore takes the field from the archive.
    written: bool
    #: Null is a value to the column, or to its type.
    nullable: bool
    required: bool
    misfit: Misfit | None
    password: bool


class Decoder:
    """Makes rows of a kind's staging table, by column, of records: many at a time, as nearly all
    of them have nothing that has to be looked at by itself.

    `values` are that table's columns by field, `made` those of what the client gives a new row, by
    the host's column; `writes` says which fields a restore takes from the archive.
    """

    def __init__(
        self,
        mapped: MappedKind,
        values: Mapping[str, sa.Column[Any]],
        made: Mapping[str, sa.Column[Any]],
        writes: Callable[[MappedField], bool],
        connection: sa.Connection,
    ) -> None:
        dialect, misfit = connection.dialect, database_of(connection).misfit
        self._mapped, self._key_of = mapped, mapped.kind.key_of
        self._is_user = mapped.kind is USERS
        null = {field.name: _holds_null(field.column, dialect) for field in mapped.fields}
        #: The fields to whose type null is a value, and to whose column too.
        self.json_nullable = [
            field.name for field in mapped.fields if null[field.name] and field.own.nullable
        ]
        self._columns = [
            _Column(
                field=field,
                parameter=values[field.name].name,
                archived=not (self._is_user and field.name == "totp_enabled"),
                written=writes(field),
                nullable=field.own.nullable or null[field.name],
                required=not field.key and writes(field) and _is_required(field, mapped),
                misfit=misfit(field.column.type.dialect_impl(dialect)),
                password=self._is_user and field.name == "password_hash",
            )
            for field in mapped.fields
        ]
        written = {
            column.field.own.name: at for at, column in enumerate(self._columns) if column.written
        }
        self._makers = [
            (name, column.name, mapped.fillers[name].make, written.get(name))
            for name, column in made.items()
        ]

    def columns(self, rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
        """The columns of some records, by name; what a record can not be is in `problem`."""
        numbers, records, actions = zip(*rows, strict=True)
        count = len(records)
        problems: list[str | None] = [None] * count
        on_create: list[str | None] = [None] * count
        found: dict[str, Sequence[Any]] = {
            "n": numbers,
            "key": [as_json(self._key_of(record)) for record in records],
            "action": actions,
            "flags": [self._flags(record) if self._is_user else 0 for record in records],
            "problem": problems,
            "problem_on_create": on_create,
        }
        values = _by_field(records)
        has: list[str] = []
        for column in self._columns:
            found[column.parameter], digits = self._column(column, values, problems)
            has.append(digits)
            if column.required and "0" in digits:
                self._require(column, digits, on_create)
        found["shape"] = list(map("".join, zip(*has, strict=True)))
        nulls = [
            ["1" if value is None or value is _ABSENT else "0" for value in values(name)]
            for name in self.json_nullable
        ]
        found["nulls"] = list(map("".join, zip(*nulls, strict=True))) or [""] * count
        self._make(found, has, on_create)
        return found

    def _column(
        self,
        column: _Column,
        values_of: Callable[[str], Sequence[Any]],
        problems: list[str | None],
    ) -> tuple[Sequence[Any], str]:
        """The values of a column, and a digit for each: 1 where the record has one."""
        count = len(problems)
        if not column.archived:
            return [None] * count, "0" * count
        values = values_of(column.field.name)
        decoded = self._decode_all(column, values)
        if decoded is not None:
            return decoded, "1" * count
        found = [self._one(column, value, at, problems) for at, value in enumerate(values)]
        return (
            [None if value is _ABSENT else value for value in found],
            "".join(["0" if value is _ABSENT else "1" for value in found]),
        )

    def _one(self, column: _Column, value: Any, at: int, problems: list[str | None]) -> Any:
        """One value as the column holds it, or `_ABSENT`."""
        if value is _ABSENT or (value is None and column.nullable):
            return value
        try:
            return self._decode(column, value)
        except CodecError as error:
            if column.written:
                problems[at] = problems[at] or marked(f"its {column.field.name} {error}")
            return _ABSENT

    @staticmethod
    def _decode_all(column: _Column, values: Sequence[Any]) -> Sequence[Any] | None:
        """The values that the column takes; None where one of them has to be looked at closer."""
        types = set(map(type, values))
        has_null = type(None) in types
        if type(_ABSENT) in types or (has_null and not column.nullable):
            return None
        given = [value for value in values if value is not None] if has_null else list(values)
        try:
            decoded = column.field.codec.decode_all(given)
        except CodecError:
            return None
        misfits = (column.misfit is not None and any(map(column.misfit, decoded))) or (
            column.password and any(map(_is_out_of_bounds, decoded))
        )
        if misfits:
            return None
        if not has_null:
            return decoded
        rest = iter(decoded)
        return [None if value is None else next(rest) for value in values]

    def _require(self, column: _Column, digits: str, on_create: list[str | None]) -> None:
        """Say why a new row can not be without the column, of the records that have it not."""
        field = column.field
        example = _on_create(field.own.name)
        problem = marked(
            f"it has no {field.name}, and a new row can not be without it: add it where the "
            f"archive was made, give the column a default, or give it a value, {example}"
        )
        for at, digit in enumerate(digits):
            if digit == "0":
                on_create[at] = problem

    def _make(
        self, found: dict[str, Sequence[Any]], has: Sequence[str], on_create: list[str | None]
    ) -> None:
        """What the client gives new rows in columns that the records do not set."""
        makers: list[tuple[str, list[Any], _Make, str | None]] = []
        for name, parameter, make, at in self._makers:
            found[parameter] = values = [None] * len(on_create)
            digits = None if at is None else has[at]
            if make is not None and (digits is None or "0" in digits):
                makers.append((name, values, make, digits))
        for n in range(len(on_create)) if makers else ():
            by_column: dict[str, Any] | None = None
            for name, values, make, digits in makers:
                if digits is not None and digits[n] == "1":
                    continue
                if by_column is None:
                    by_column = {
                        column.field.own.name: found[column.parameter][n]
                        for column, each in zip(self._columns, has, strict=True)
                        if each[n] == "1"
                    }
                try:
                    values[n] = by_column[name] = make(by_column)
                except Exception as error:
                    on_create[n] = made_problem(
                        self._mapped.fillers[name], marked(f"raised {type(error).__name__}")
                    )

    def _decode(self, column: _Column, value: Any) -> Any:
        """The column's value, or `_ABSENT`. Raises CodecError for one that it can not hold."""
        field = column.field
        if value is None:
            filler = self._mapped.fillers.get(field.own.name)
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
        if column.password and _is_out_of_bounds(decoded):
            raise CodecError(
                "is malformed, or would cost too much at each log-in: set a new password where "
                "the archive was made"
            )
        return decoded

    @staticmethod
    def _flags(record: Record) -> int:
        password = record.get("password_hash")
        unknown = isinstance(password, str) and scheme(password) == "unknown"
        return (TOTP_ENABLED if record.get("totp_enabled") is True else 0) | (
            UNKNOWN_PASSWORD if unknown else 0
        )


def _by_field(records: Sequence[Record]) -> Callable[[str], Sequence[Any]]:
    """What gives the values of a field, `_ABSENT` where a record does not have it."""
    names = {tuple(record) for record in records}
    if len(names) == 1:
        columns = dict(zip(names.pop(), zip(*map(dict.values, records), strict=True), strict=True))
        absent = [_ABSENT] * len(records)
        return lambda name: columns.get(name, absent)
    return lambda name: [record.get(name, _ABSENT) for record in records]


def _is_out_of_bounds(password: Any) -> bool:
    return isinstance(password, str) and scheme(password) == "out of bounds"


def _holds_null(column: sa.Column[Any], dialect: sa.Dialect) -> bool:
    """Whether None is a value to the column's type, as `null` is to JSON's."""
    try:
        processor = column.type.dialect_impl(dialect).bind_processor(dialect)
        return processor is not None and processor(None) is not None
    except Exception:
        # A host's own type may not expect it, and raise anything.
        return False


def _is_required(field: MappedField, mapped: MappedKind) -> bool:
    column = field.own
    return not (
        column.nullable
        or column.name in mapped.fillers
        or column.server_default is not None
        or column is mapped.table.autoincrement_column
    )


def made_problem(filler: Filler, what: str) -> str:
    """Why a record can not be created: what the client gives a column does not work."""
    name = filler.column.name
    if filler.by_host:
        return marked(f"what on_create= says for column {name} {what}: correct it there")
    example = _on_create(name)
    return marked(
        f"the default of column {name} {what}: correct the default, or give the column a value, "
        f"{example}"
    )


def _on_create(column: str) -> str:
    """Beside the sentence, as the braces of a message are placeholders."""
    return f'on_create={{"{column}": …}}'
