"""The host's rows as records, streamed in byte order of their keys out of one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.records import Key, Kind
from hexhub_backup.archive.rules.strict_json import MAX_DIGITS
from hexhub_backup.databases.errors import ERRORS, is_not_text, summary, translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError, Fault, RecordError
from hexhub_backup.marking import marked
from hexhub_backup.registry.mapping.codecs import CodecError
from hexhub_backup.registry.mapping.mapped_kinds import MappedField, MappedKind, MappedKinds
from hexhub_backup.registry.queries import Expression, rows_of, visible

#: What a column's own type, or the driver, raises that can not make a value of what is stored.
_NO_VALUE = (DataError, ValueError, LookupError, TypeError, ArithmeticError)

# So many rows are in memory at a time, and few where they are large. More would outlive a
# collection of garbage, and bring on those that look at every object of the host.
_MANY, _FEW = 100, 20
_LARGE_ROW = 20_000

_decode = json.JSONDecoder().raw_decode


class SQLAlchemySnapshot:
    """The four kinds as the one transaction of `connection` sees them."""

    def __init__(self, connection: sa.Connection, kinds: MappedKinds) -> None:
        self._connection = connection
        self._database = database_of(connection)
        self._kinds = kinds
        self._open: set[sa.CursorResult[Any]] = set()

    def close(self) -> None:
        """Close what was not read to its end: a reader that gave up may live on in a traceback."""
        for result in self._open:
            result.close()

    def count(self, kind: Kind) -> int:
        mapped = self._kinds[kind.name]
        source, _ = rows_of(mapped)
        counted = sa.select(sa.func.count()).select_from(source)
        with translated(f"The {kind.name} can not be counted"):
            return self._connection.execute(
                counted.where(visible(mapped, self._kinds))
            ).scalar_one()

    def batches(self, kind: Kind) -> Iterator[Batch]:
        mapped = self._kinds[kind.name]
        names = [field.name for field in mapped.fields]
        for columns in self._columns(mapped, mapped.fields):
            yield Batch(dict(sorted(zip(names, columns, strict=True))))

    def keys(self, kind: Kind, *, hidden: bool = False) -> Iterator[Key]:
        mapped = self._kinds[kind.name]
        for columns in self._columns(mapped, mapped.keys, hidden=hidden):
            yield from zip(*columns, strict=True)

    def _columns(
        self, mapped: MappedKind, fields: tuple[MappedField, ...], *, hidden: bool = False
    ) -> Iterator[list[Sequence[Any]]]:
        """The JSON values of `fields`, the key's first, of some rows at a time.

        By columns: of most the types tell at once that all values are as in JSON."""
        texts = [self._as_text(field) for field in fields]
        for batch in self._batches(mapped, fields, hidden=hidden):
            try:
                yield [
                    _column(field, values, as_text=as_text)
                    for field, as_text, values in zip(
                        fields, texts, zip(*batch, strict=True), strict=True
                    )
                ]
            except CodecError:
                raise _refusal(mapped, texts, batch) from None

    def _as_text(self, field: MappedField) -> bool:
        """Whether JSON is read as the text that the database keeps: SQLAlchemy would make several
        calls for each value, and what a parser of ours gives needs no look for what is not JSON."""
        return (
            self._database.keeps_json_text(self._connection.dialect)
            and type(field.column.type) is sa.JSON
            and field.codec.json == "json"
        )

    def _select(
        self, mapped: MappedKind, fields: tuple[MappedField, ...], *, hidden: bool = False
    ) -> sa.Select[Any]:
        source, values = rows_of(mapped)
        by_field: dict[MappedField, Expression] = {
            field: sa.type_coerce(value, sa.Text()) if self._as_text(field) else value
            for field, value in zip(mapped.fields, values, strict=True)
        }
        in_byte_order = self._database.in_byte_order
        return (
            sa.select(*(by_field[field].label(field.name) for field in fields))
            .select_from(source)
            .where(
                *(by_field[key].is_not(None) for key in mapped.keys)
                if hidden
                else (visible(mapped, self._kinds),)
            )
            .order_by(*(in_byte_order(by_field[key]) for key in mapped.keys))
        )

    def _batches(
        self, mapped: MappedKind, fields: tuple[MappedField, ...], *, hidden: bool
    ) -> Iterator[Sequence[sa.Row[Any]]]:
        select = self._select(mapped, fields, hidden=hidden)
        try:
            # Closed also where it is not read to its end: it may be a cursor of the server's.
            with self._connection.execute(
                select, execution_options={"stream_results": True, "max_row_buffer": _MANY}
            ) as result:
                self._open.add(result)
                size = _FEW
                while batch := result.fetchmany(size):
                    yield batch
                    # A row of SQLAlchemy's shortens what it shows of itself.
                    size = _FEW if len(repr(tuple(batch[-1]))) > _LARGE_ROW else _MANY
        except _NO_VALUE as error:
            raise self._unreadable(mapped, type(error).__name__) from None
        except ERRORS as error:
            if is_not_text(error):
                raise self._unreadable(mapped, marked("it is not UTF-8")) from None
            raise DatabaseError(
                f"The {mapped.kind.name} can not be read: {summary(error)}"
            ) from None

    def _unreadable(self, mapped: MappedKind, why: str) -> RecordError:
        """Find the row and the field whose type raised, reading one at a time."""
        for field in mapped.fields:
            select = self._select(mapped, (field,))
            seen = 0
            try:
                with self._connection.execute(select, execution_options={"yield_per": 1}) as result:
                    for _ in result:
                        seen += 1
            except (*ERRORS, *_NO_VALUE) as error:
                is_no_text = is_not_text(error)
                if not is_no_text and not isinstance(error, _NO_VALUE):
                    break
                return _error(
                    mapped,
                    self._key_at(mapped, seen, is_no_text=is_no_text),
                    field.name,
                    marked(f"what is stored is not of the column's type ({why}): correct the row"),
                )
        return RecordError(f"A row of {mapped.label} can not be read ({why}): correct it")

    def _key_at(self, mapped: MappedKind, place: int, *, is_no_text: bool) -> Key:
        select: sa.Select[Any] = self._select(mapped, mapped.keys).offset(place).limit(1)
        if not is_no_text:
            return tuple(map(str, self._connection.execute(select).one()))
        # It may be the key that is none.
        columns = (sa.cast(each, sa.LargeBinary()) for each in select.subquery().c)
        row = self._connection.execute(sa.select(*columns)).one()
        return tuple(bytes(each or b"").decode(errors="backslashreplace") for each in row)


def _column(field: MappedField, values: tuple[Any, ...], *, as_text: bool) -> Sequence[Any]:
    """The JSON values of one column. Raises CodecError where one has none, or a key is null."""
    if as_text:
        # Many are alike, as those of one package are: each text is parsed once.
        parsed = {text: _parsed(text) for text in {each for each in values if type(each) is str}}
        return [parsed[each] if each in parsed else _parsed(each) for each in values]
    types = set(map(type, values))
    if not types <= {field.codec.same_in_json, type(None)}:
        encode = field.codec.encode
        values = tuple([None if value is None else encode(value) for value in values])
    if field.key and None in values:
        raise CodecError("is null, and part of the key: leave the row out by where=")
    return values


def _parsed(value: Any) -> Any:
    try:
        # What is no text is a number, or nothing: SQLite keeps it as it likes.
        if type(value) is not str:
            return json.loads(value) if type(value) is bytes else value
        parsed, end = _decode(value.lstrip(" \t\n\r"))
        return parsed if end == len(value) else json.loads(value)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise CodecError("is not JSON: correct the row") from None
    except RecursionError:
        raise CodecError("is nested too deep: correct the row") from None
    except ValueError:
        # Python makes a number of some thousand digits at most.
        raise CodecError(f"holds an integer of more than {MAX_DIGITS} digits") from None


def _refusal(mapped: MappedKind, texts: Sequence[bool], rows: Sequence[sa.Row[Any]]) -> RecordError:
    """Which field of which row has no counterpart in JSON."""
    for row in rows:
        for field, as_text, value in zip(mapped.fields, texts, row, strict=False):
            try:
                _column(field, (value,), as_text=as_text)
            except CodecError as error:
                key = tuple(str(value) for value, _ in zip(row, mapped.keys, strict=False))
                return _error(mapped, key, field.name, marked(f"the value {error}"))
    return RecordError(f"A row of {mapped.label} can not be read: correct it")


def _error(mapped: MappedKind, key: Key, field: str | None, message: str) -> RecordError:
    label = shown(mapped.kind.label(key))
    fault = Fault("bad_record", message, record=label, field=field)
    return RecordError(f"A row of {mapped.label} can not be backed up: {fault}", [fault])
