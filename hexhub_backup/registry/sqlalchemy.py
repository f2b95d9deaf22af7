"""The adapter for a host's own SQLAlchemy models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.orm import Session

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.jsonrows import MAX_DIGITS
from hexhub_backup.archive.records import (
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Key,
    Kind,
)
from hexhub_backup.database import connected
from hexhub_backup.database_errors import ERRORS, summary, translated
from hexhub_backup.errors import DatabaseError, Fault, MappingError, RecordError
from hexhub_backup.registry.codecs import CodecError
from hexhub_backup.registry.mapping import MappedField, MappedKind, MappedKinds, ModelMap
from hexhub_backup.registry.matching import Matched
from hexhub_backup.registry.queries import Expression, in_byte_order, rows_of, visible
from hexhub_backup.registry.resolution import resolve
from hexhub_backup.registry.restoration import SQLAlchemyRestoration
from hexhub_backup.registry.staging import Staged
from hexhub_backup.registry.transactions import reading
from hexhub_backup.registry.undoing import SQLAlchemyUndoing
from hexhub_backup.registry.usable import refuse_unusable

#: What a column's own type, or the driver, raises that can not make a value of what is stored.
_NO_VALUE = (DataError, ValueError, LookupError, TypeError, ArithmeticError)

# So many rows are in memory at a time, and few where they are large. More would outlive a
# collection of garbage, and bring on those that look at every object of the host.
_MANY, _FEW = 100, 20
_LARGE_ROW = 20_000

_decode = json.JSONDecoder().raw_decode


class SQLAlchemyRegistry:
    """A registry in one SQL database, SQLite (3.33 or newer) or PostgreSQL.

    `db` is anything with an `engine`: Flask-SQLAlchemy's extension (looked up on each use, in
    the app's context), or an Engine itself.
    """

    def __init__(
        self,
        db: Any,
        *,
        users: ModelMap,
        packages: ModelMap,
        releases: ModelMap,
        owners: ModelMap,
    ) -> None:
        self._db = db
        self._maps = {
            USERS.name: users,
            PACKAGES.name: packages,
            RELEASES.name: releases,
            OWNERS.name: owners,
        }
        self._usable: sa.Engine | None = None

    @cached_property
    def kinds(self) -> MappedKinds:
        """The resolved maps by the name of their kind. Raises MappingError."""
        return resolve(self._maps)

    @property
    def engine(self) -> sa.Engine:
        """The engine of the database that holds the four models.

        Raises MappingError for a `db` that has none, and for a database that is not known here;
        RuntimeError where Flask-SQLAlchemy is asked out of an app's context.
        """
        table = self.kinds[USERS.name].table
        key = table.metadata.info.get("bind_key") or table.info.get("bind_key")
        engines = getattr(self._db, "engines", None)
        if engines is None or key is None:
            engine = getattr(self._db, "engine", None)
        else:
            engine = engines.get(key)
        if not isinstance(engine, sa.Engine):
            of_bind = "" if key is None else f" for the bind {key!r}"
            raise MappingError(
                f"The registry's db, a {type(self._db).__name__}, has no engine{of_bind}: give "
                "Flask-SQLAlchemy's db, or an Engine of SQLAlchemy's"
            )
        if engine is not self._usable:
            refuse_unusable(engine)
            self._usable = engine
        return engine

    def let_go(self) -> None:
        """Give back the connection that the session of `db` holds, where it has one of either.

        It is committed, so that objects are read again when they are next asked. Not where it
        holds something unsaved: whether that is to stay is the host's to say.
        """
        session = getattr(self._db, "session", None)
        if callable(session):
            session = session()
        if not isinstance(session, Session) or session.new or session.dirty or session.deleted:
            return
        try:
            session.commit()
        except SQLAlchemyError:
            session.rollback()

    def check(self) -> None:
        """Raise MappingError for a mapping, or a database, that can not work. Connects to nothing
        but SQLite in memory."""
        _ = self.kinds
        # Out of an app's context Flask-SQLAlchemy has no engine yet: the first use tells.
        with suppress(RuntimeError):
            _ = self.engine

    def fields(self, kind: Kind) -> frozenset[str]:
        """The fields that have a column here."""
        return frozenset(field.name for field in self.kinds[kind.name].fields)

    @contextmanager
    def snapshot(self) -> Iterator[SQLAlchemySnapshot]:
        """Read all four kinds as of one moment. Raises DatabaseError."""
        with reading(self.engine) as connection:
            snapshot = SQLAlchemySnapshot(connection, self.kinds)
            try:
                yield snapshot
            finally:
                snapshot.close()

    @contextmanager
    def restoration(
        self, *, protected: bool, actor: str | None, overwrite: bool
    ) -> Iterator[SQLAlchemyRestoration]:
        """Stage, compare and write the records of one archive; see `base.Registry`."""
        with (
            connected(self.engine) as connection,
            self._restoration(
                connection, "in", protected=protected, actor=actor, overwrite=overwrite
            ) as restoration,
        ):
            yield restoration

    @contextmanager
    def undoing(self, *, protected: bool, actor: str | None) -> Iterator[SQLAlchemyUndoing]:
        """Compare, remove and bring back the records of one restore; see `base.Registry`."""
        of: dict[str, Any] = {"protected": protected, "actor": actor, "overwrite": True}
        with (
            connected(self.engine) as connection,
            self._restoration(connection, "left", **of) as left,
            self._restoration(connection, "before", **of) as before,
        ):
            yield SQLAlchemyUndoing(connection, left, before)

    @contextmanager
    def _restoration(
        self, connection: sa.Connection, name: str, *, protected: bool, **more: Any
    ) -> Iterator[SQLAlchemyRestoration]:
        matched = {
            kind: Matched(Staged(mapped, granted=protected, name=name))
            for kind, mapped in self.kinds.items()
        }
        restoration = SQLAlchemyRestoration(
            connection, self.kinds, matched, protected=protected, **more
        )
        try:
            yield restoration
        finally:
            restoration.close()


class SQLAlchemySnapshot:
    """The four kinds as the one transaction of `connection` sees them."""

    def __init__(self, connection: sa.Connection, kinds: MappedKinds) -> None:
        self._connection = connection
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
        """Whether JSON is read as the text that SQLite keeps: SQLAlchemy would make several calls
        for each value, and what a parser of ours gives needs no look for what is not JSON."""
        dialect = self._connection.dialect
        return (
            dialect.name == "sqlite"
            # The host has no deserializer of its own.
            and getattr(dialect, "_json_deserializer", dialect) is None
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
        dialect = self._connection.dialect.name
        return (
            sa.select(*(by_field[field].label(field.name) for field in fields))
            .select_from(source)
            .where(
                *(by_field[key].is_not(None) for key in mapped.keys)
                if hidden
                else (visible(mapped, self._kinds),)
            )
            .order_by(*(in_byte_order(by_field[key], dialect) for key in mapped.keys))
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
                    size = _FEW if len(repr(batch[-1])) > _LARGE_ROW else _MANY
        except _NO_VALUE as error:
            raise self._unreadable(mapped, type(error).__name__) from None
        except ERRORS as error:
            if _is_no_text(error):
                raise self._unreadable(mapped, "it is not UTF-8") from None
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
                is_no_text = _is_no_text(error)
                if not is_no_text and not isinstance(error, _NO_VALUE):
                    break
                return _error(
                    mapped,
                    self._key_at(mapped, seen, is_no_text=is_no_text),
                    field.name,
                    f"what is stored is not of the column's type ({why}): correct the row",
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


def _is_no_text(error: Exception) -> bool:
    """Whether SQLite has bytes as a text that are no UTF-8: the driver has no error for that."""
    return "Could not decode to UTF-8" in str(getattr(error, "orig", error))


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
                return _error(mapped, key, field.name, f"the value {error}")
    return RecordError(f"A row of {mapped.label} can not be read: correct it")


def _error(mapped: MappedKind, key: Key, field: str | None, message: str) -> RecordError:
    label = shown(mapped.kind.label(key))
    fault = Fault("bad_record", message, record=label, field=field)
    return RecordError(f"A row of {mapped.label} can not be backed up: {fault}", [fault])
