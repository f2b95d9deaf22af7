"""From the host's `ModelMap`s to resolved kinds, refusing everything that can not work."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from hexhub_backup.archive.records import KINDS, PACKAGES, USERS, FieldType, Kind
from hexhub_backup.errors import Fault, MappingError
from hexhub_backup.registry.mapping.codecs import PAIR, Codec, codec_of, pair_codec
from hexhub_backup.registry.mapping.host_models import (
    Model,
    Refusal,
    column_of,
    foreign_keys,
    is_referred,
    referred,
)
from hexhub_backup.registry.mapping.mapped_kinds import (
    Filler,
    MappedField,
    MappedKind,
    MappedKinds,
    Reference,
    is_unique,
)
from hexhub_backup.registry.mapping.model_map import VOLATILE, Field, ModelMap, Source
from hexhub_backup.registry.mapping.refusals import (
    refuse_ambiguous,
    refuse_mistyped,
    refuse_other,
    refuse_subclasses,
    refuse_surrogate,
    refuse_unfilled,
)

_KEY_CODECS = [codec_of(each, dt.timezone.utc) for each in (sa.String(), sa.Uuid())]
_JSON_OF: Mapping[FieldType, str] = {"object": "json"}


def resolve(maps: Mapping[str, ModelMap]) -> MappedKinds:
    """Resolve the map of each kind by its name, without a database.

    Raises MappingError with a fault (`bad_mapping`) for everything that is wrong.
    """
    resolver = _Resolver(maps)
    kinds = resolver.kinds_of()
    if resolver.faults:
        lines = "\n".join(f"- {fault}" for fault in resolver.faults)
        raise MappingError(f"The models can not be mapped as they are:\n{lines}", resolver.faults)
    return kinds


class _Consequence(Refusal):
    """What was told already, with the key of the kind that it is about."""


class _Resolver:
    def __init__(self, maps: Mapping[str, ModelMap]) -> None:
        self.maps = maps
        self.faults: list[Fault] = []
        self.faulty: set[Kind] = set()
        self.models: dict[str, Model] = {}
        self.kinds: dict[str, MappedKind] = {}

    @contextmanager
    def _collecting(self, kind: Kind, field: str | None = None) -> Iterator[None]:
        try:
            yield
        except _Consequence:
            self.faulty.add(kind)
        except (Refusal, SQLAlchemyError) as error:
            self.faulty.add(kind)
            model = self.models.get(kind.name)
            label = kind.name if model is None else f"{kind.name}, {model.label}"
            self.faults.append(Fault("bad_mapping", str(error), record=label, field=field))

    def kinds_of(self) -> MappedKinds:
        for kind in KINDS:
            mapped = self.maps[kind.name]
            with self._collecting(kind):
                refuse_other(kind, mapped)
                self.models[kind.name] = Model(mapped.model)
                for option, value in vars(mapped).items():
                    with self._collecting(kind, option):
                        refuse_mistyped(option, value)
        if self.faults:
            return {}
        binds = {model.bind_key for model in self.models.values()}
        if len(binds) > 1:
            with self._collecting(USERS):
                named = ", ".join(sorted(map(repr, binds)))
                raise Refusal(
                    f"the four models are on more than one bind ({named}), which no single "
                    "transaction can span: put them into one database"
                )
        for kind in KINDS:
            self.kinds[kind.name] = self._kind(kind)
        return self.kinds

    # --- one kind ------------------------------------------------------------------------

    def _kind(self, kind: Kind) -> MappedKind:
        model, mapped = self.models[kind.name], self.maps[kind.name]
        fields = self._fields(kind)
        by_host = dict(mapped.on_create or {})
        fillers: dict[str, Filler] = {}
        where, secret = None, None
        with self._collecting(kind):
            fillers = model.fillers(by_host)
        # A field that is corrected may be what fills a column.
        for column in () if kind in self.faulty else model.table.columns:
            with self._collecting(kind, column.name):
                refuse_unfilled(column, fields, fillers)
        with self._collecting(kind, "where"):
            own_where = model.condition(mapped.where)
            where = _both(model.single_table_condition(), own_where)
            refuse_subclasses(model, fields, own_where, fillers)
        with self._collecting(kind, "totp_secret"):
            secret = self._totp_secret(kind, fields)
        resolved = MappedKind(
            kind, model.label, model.table, fields, where, fillers, secret, model.version
        )
        with self._collecting(kind):
            if len(resolved.keys) == len(kind.key):
                refuse_ambiguous(resolved)
        return resolved

    def _fields(self, kind: Kind) -> tuple[MappedField, ...]:
        mapped = self.maps[kind.name]
        own = [*mapped.extra, *mapped.protected]
        names = list(dict.fromkeys([*kind.key, *kind.fields, *own]))
        for name in mapped.fields or {}:
            if name not in names:
                with self._collecting(kind, name):
                    raise Refusal(
                        f"{kind.one}s have no such field: correct its name, or let it travel "
                        f'with extra=["{name}"]'
                    )
        fields: list[MappedField] = []
        for name in names:
            with self._collecting(kind, name):
                field = self._field(kind, name)
                if field is not None:
                    fields.append(field)
                elif name in own:
                    raise Refusal(
                        self.models[kind.name].no_column(name)
                        or "there is no such column: correct its name, or take it out"
                    )
        for name in mapped.volatile:
            if name not in names and name not in VOLATILE:
                with self._collecting(kind, name):
                    raise Refusal("volatile= names what is no field: correct it, or take it out")
        seen: dict[str, str] = {}
        for field in fields:
            with self._collecting(kind, field.name):
                other = seen.setdefault(field.own.name, field.name)
                if other != field.name:
                    raise Refusal(
                        f"writes column {field.own.name}, and so does {other}: take one out"
                    )
        return tuple(fields)

    def _field(self, kind: Kind, name: str) -> MappedField | None:
        mapped = self.maps[kind.name]
        given = (mapped.fields or {}).get(name)
        pair = given if isinstance(given, Field) else None
        source = pair.column if pair is not None else given
        assert not isinstance(source, Field)  # noqa: S101 (tells mypy)
        target = self._target(kind, name, source)
        key = name in kind.key
        if target is None:
            return None
        column, reference = target
        if reference is None:
            reference = self._foreign(kind, name, column)
        protected = name in mapped.protected
        if key and protected:
            raise Refusal("is of the key, which can not be protected: take it out of protected=")
        own = column if reference is None else reference.local
        if own.computed is not None:
            raise Refusal(f"column {own.name} is computed by the database: take it out")
        if own is self.models[kind.name].version:
            raise Refusal(
                f"column {own.name} is the model's version_id_col, which counts the writes of this "
                "host: take it out"
            )
        metadatas = {model.table.metadata for model in self.models.values()}
        return MappedField(
            name=name,
            column=column,
            codec=self._codec(kind, name, column.type, pair),
            key=key,
            protected=protected,
            volatile=name in mapped.volatile,
            fixed=key or own.primary_key or _is_always(own) or is_referred(own, metadatas),
            reference=reference,
        )

    def _codec(self, kind: Kind, name: str, type_: TypeEngine[Any], pair: Field | None) -> Codec:
        if pair is not None and (pair.encode is not None or pair.decode is not None):
            if name in kind.key:
                raise Refusal(
                    "is of the key, which is sorted and compared in the database: it can not "
                    "have an encode=/decode= pair; map it onto a text column"
                )
            if not (callable(pair.encode) and callable(pair.decode)):
                raise Refusal("encode= and decode= have to be functions, both of them: give both")
            return pair_codec(pair.encode, pair.decode)
        codec = codec_of(type_, self.maps[kind.name].timezone)
        if codec is None:
            raise Refusal(f"there is no rule for a column of type {type_!r}: {PAIR}")
        if name in kind.key and codec not in _KEY_CODECS:
            raise Refusal(f"is of the key, which is a text or a UUID, but its column is {type_!r}")
        expected = kind.fields.get(name, "any")
        if expected != "any" and codec.json != _JSON_OF.get(expected, expected):
            raise Refusal(
                f"is {expected} in an archive, but a column of type {type_!r} gives {codec.json}: "
                f"{PAIR}"
            )
        return codec

    def _totp_secret(self, kind: Kind, fields: tuple[MappedField, ...]) -> sa.Column[Any] | None:
        source = self.maps[kind.name].totp_secret
        if source is None:
            return None
        if kind is not USERS:
            raise Refusal("only users have a second factor: take it out")
        column = self.models[kind.name].own(source)
        if any(field.own is column for field in fields):
            raise Refusal(f"column {column.name} also travels: a secret must not, take it out")
        return column

    # --- where a field is ----------------------------------------------------------------

    def _target(
        self, kind: Kind, name: str, source: Source | None
    ) -> tuple[sa.Column[Any], Reference | None] | None:
        model, parent = self.models[kind.name], kind.parents.get(name)
        if source is None:
            column = model.column(name)
            if column is None and parent is not None:
                key = self._key_of(parent)
                return self._reach(kind, name, *model.only_foreign_key(key.table), key)
            if column is None and name in kind.key:
                raise Refusal(
                    model.no_column(name)
                    or "is of the key, and there is no such column: name it, "
                    f'fields={{"{name}": "…"}}'
                )
            if column is None and model.is_settable(name):
                raise Refusal(str(model.no_column(name)))
        elif isinstance(source, str) and "." in source:
            return self._reach(kind, name, *self._path(model, source))
        elif isinstance(source, str):
            column = model.own(source)
        else:
            column = column_of(source)
            if column.table is not model.table:
                reached = model.only_foreign_key(column.table)
                return self._reach(kind, name, *reached, column)
        if column is None or parent is None:
            return None if column is None else (column, None)
        key = self._key_of(parent)
        keys = [referred(each) for each in foreign_keys(column)]
        foreign = any(each is key for each in keys)
        return column, Reference(column, key, key, parent, parent=True, foreign=foreign)

    def _path(
        self, model: Model, path: str
    ) -> tuple[sa.Column[Any], sa.Column[Any], sa.Column[Any]]:
        """`relationship.column` or `fk_column.column` as own, other and reached column."""
        head, _, tail = path.partition(".")
        local, remote, target = model.step(head)
        if target is None:
            known = [each for each in self.models.values() if each.table is remote.table]
            target = known[0] if known else Model(remote.table)
        value = target.column(tail)
        if value is None:
            raise Refusal(f"{target.label} has no column {tail}: correct {path!r}")
        return local, remote, value

    def _reach(
        self,
        kind: Kind,
        name: str,
        local: sa.Column[Any],
        remote: sa.Column[Any],
        value: sa.Column[Any],
    ) -> tuple[sa.Column[Any], Reference]:
        parent = kind.parents.get(name)
        if parent is not None and value is not self._key_of(parent):
            raise Refusal(
                f"has to reach the key of {parent.name}, {self._key_of(parent)}, not {value}"
            )
        if value.table is self.models[kind.name].table:
            raise Refusal("reaches into its own table, whose rows are not all there yet")
        if not is_unique(value.table, [value]):
            if parent is not None:
                raise _Consequence
            raise Refusal(f"{value} is not unique in the database: reach for a column that is")
        target = parent or next(
            (
                each
                for each in (USERS, PACKAGES)
                if each.name in self.kinds and self._key_of(each) is value
            ),
            None,
        )
        reference = Reference(
            local, remote, value, target, parent=parent is not None, foreign=parent is not None
        )
        return (local if reference.natural else value), reference

    def _foreign(self, kind: Kind, name: str, column: sa.Column[Any]) -> Reference | None:
        """What a column with a foreign key, mapped as it is, refers to: a natural key, or a row
        that nothing tells apart on another host, which is refused."""
        model = self.models[kind.name]
        found = None
        for there, way in model.referred_by(column).items():
            tables = (each for each, known in self.models.items() if known.table is there.table)
            other = next(tables, None)
            known = self.kinds.get(other or "")
            natural = None
            if other in (USERS.name, PACKAGES.name) and known is not None:
                natural = self._key_of(known.kind)
            travels = known is not None and any(field.own is there for field in known.fields)
            # A text says by itself what it refers to. A UUID that travels is there or is not,
            # while an integer is another row's on another host.
            if not isinstance(there.type, (sa.String, sa.Uuid) if travels else sa.String):
                refuse_surrogate(name, column, there, way=way, natural=natural)
            if there is natural or (other is None and is_unique(there.table, [there])):
                target = None if known is None else known.kind
                found = Reference(column, there, there, target, parent=False, foreign=False)
        return found

    def _key_of(self, kind: Kind) -> sa.Column[Any]:
        keys = self.kinds[kind.name].keys
        if not keys:
            raise _Consequence
        return keys[0].column


def _is_always(column: sa.Column[Any]) -> bool:
    """Whether only the database gives the column a value, but where an INSERT overrides it."""
    return column.identity is not None and bool(column.identity.always)


def _both(
    one: ColumnElement[bool] | None, other: ColumnElement[bool] | None
) -> ColumnElement[bool] | None:
    return (
        sa.and_(one, other)
        if one is not None and other is not None
        else other
        if one is None
        else one
    )
