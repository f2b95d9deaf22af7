"""One model of the host, a mapped class or a Table, and what its metadata tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.associationproxy import AssociationProxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    ColumnProperty,
    CompositeProperty,
    Mapper,
    RelationshipDirection,
    RelationshipProperty,
)
from sqlalchemy.sql import ClauseElement, ColumnElement

from hexhub_backup.registry.mapping.mapped_kinds import Filler
from hexhub_backup.registry.mapping.model_map import Source


class Refusal(Exception):  # noqa: N818 (collected, never seen)
    """One thing about a mapping that can not work."""


class Model:
    """Raises Refusal where the model is none, or spreads over several tables."""

    def __init__(self, model: Any) -> None:
        self.mapper: Mapper[Any] | None = None
        if isinstance(model, sa.Table):
            self.table, self.label = model, f"table {model.name}"
            return
        mapper = sa.inspect(model, raiseerr=False) if isinstance(model, type) else None
        if not isinstance(mapper, Mapper):
            raise Refusal(
                f"{model!r} is no model: give a mapped class, or a Table, with its metadata"
            )
        if not isinstance(mapper.local_table, sa.Table) or len(mapper.tables) != 1:
            names = ", ".join(sorted(str(each) for each in mapper.tables))
            raise Refusal(
                f"{mapper.class_.__name__} spreads over several tables ({names}), which can not "
                "be written as one row: map a class that has one table"
            )
        self.mapper, self.table, self.label = mapper, mapper.local_table, mapper.class_.__name__

    @property
    def bind_key(self) -> str | None:
        """The bind of Flask-SQLAlchemy, None for its default."""
        key = self.table.metadata.info.get("bind_key") or self.table.info.get("bind_key")
        return cast("str | None", key)

    def column(self, name: str) -> sa.Column[Any] | None:
        """The own column by its attribute's name, also a synonym's or a hybrid's that is the
        column alone, else by its own; None where there is none."""
        if self.mapper is not None and name in self.mapper.all_orm_descriptors:
            with suppress(Exception):  # The class's own code may raise whatever it likes.
                attribute = getattr(self.mapper.class_, name).property
                if isinstance(attribute, ColumnProperty):
                    column = attribute.columns[0]
                    return column if isinstance(column, sa.Column) else None
        return cast("sa.Column[Any] | None", self.table.columns.get(name))

    def is_settable(self, name: str) -> bool:
        """Whether an attribute that stands for no column can be set, so that there is a value."""
        found = None if self.mapper is None else self.mapper.all_orm_descriptors.get(name)
        if isinstance(found, AssociationProxy):
            return self._is_scalar(found)
        return isinstance(found, hybrid_property) and found.fset is not None

    def _is_scalar(self, proxy: AssociationProxy[Any]) -> bool:
        assert self.mapper is not None  # noqa: S101 (it has a proxy)
        relationship = self.mapper.relationships.get(proxy.target_collection)
        return relationship is not None and not relationship.uselist

    def no_column(self, name: str) -> str | None:
        """What an attribute is that stands for no column of the table, and the fix."""
        if self.mapper is None:
            return None
        attribute: Any = self.mapper.attrs.get(name)
        if attribute is None:
            attribute = self.mapper.all_orm_descriptors.get(name)
        says = None
        if isinstance(attribute, CompositeProperty):
            columns = ", ".join(f'"{each.key}"' for each in attribute.props)
            says = f"is a composite of columns: let each of them travel instead, extra=[{columns}]"
        elif isinstance(attribute, RelationshipProperty):
            says = f'is a relationship: name a column at its end, fields={{"{name}": "{name}.…"}}'
        elif isinstance(attribute, ColumnProperty):
            says = "is a column_property over SQL, which can not be written: take it out"
        elif isinstance(attribute, AssociationProxy):
            way = f"{attribute.target_collection}.{attribute.value_attr}"
            says = f"is an association proxy to many rows ({way}): take it out"
            if self._is_scalar(attribute):
                says = f'is an association proxy: name its way, fields={{"{name}": "{way}"}}'
        elif isinstance(attribute, hybrid_property):
            says = (
                "is a hybrid over SQL, which can not be written: name the column that holds its "
                f'value, fields={{"{name}": "…"}}'
            )
        return says

    @property
    def version(self) -> sa.Column[Any] | None:
        """The column in which SQLAlchemy counts the writes of a row."""
        mapper = self.mapper
        found = None if mapper is None or not mapper.version_id_generator else mapper.version_id_col
        return found if isinstance(found, sa.Column) else None

    def referred_by(self, column: sa.Column[Any]) -> dict[sa.Column[Any], str | None]:
        """What a column refers to, by any foreign key that it is a part of or by a relationship,
        with the name of the way there, None where it takes other columns too."""
        found: dict[Any, str | None] = {
            referred(key): column.key if key in foreign_keys(column) else None
            for key in column.foreign_keys
        }
        for each in () if self.mapper is None else self.mapper.relationships:
            if each.direction is RelationshipDirection.MANYTOONE:
                pairs = each.local_remote_pairs or ()
                for remote in [remote for local, remote in pairs if local is column]:
                    found.setdefault(remote, each.key if len(pairs) == 1 else None)
        return {there: way for there, way in found.items() if isinstance(there, sa.Column)}

    def own(self, source: Source) -> sa.Column[Any]:
        column = self.column(source) if isinstance(source, str) else column_of(source)
        if column is None or column.table is not self.table:
            name = _name(source)
            other = self.no_column(name)
            raise Refusal(
                f"{self.label} has no column {name}: correct its name"
                if other is None
                else f"{self.label}.{name} {other}"
            )
        return column

    def step(self, name: str) -> tuple[sa.Column[Any], sa.Column[Any], Model | None]:
        """Own and other column of a relationship or a foreign key, and the other model."""
        relationship = None if self.mapper is None else self.mapper.relationships.get(name)
        if isinstance(relationship, RelationshipProperty):
            pairs = relationship.local_remote_pairs or []
            if relationship.uselist or len(pairs) != 1:
                raise Refusal(
                    f"relationship {name} does not lead to one row over one column: name one "
                    "that does"
                )
            local, remote = cast("tuple[sa.Column[Any], sa.Column[Any]]", pairs[0])
            return local, remote, Model(relationship.mapper.class_)
        local = self.own(name)
        keys = foreign_keys(local)
        if len(keys) != 1:
            raise Refusal(f"column {name} is not a foreign key over one column: name one that is")
        found = referred(keys[0])
        if found is None:
            raise Refusal(f"the table that {name} refers to is not in the metadata: import it")
        return local, found, None

    def only_foreign_key(self, table: Any) -> tuple[sa.Column[Any], sa.Column[Any]]:
        """Own and other column of the one foreign key to `table`."""
        found = [
            (column, key.column)
            for column in self.table.columns
            for key in foreign_keys(column)
            if key.references(table)
        ]
        if len(found) != 1:
            how_many = "no foreign key" if not found else "more than one foreign key"
            raise Refusal(
                f"{self.label} has no such column, and {how_many} over one column to "
                f'{table.name}: name the way, "relationship.column"'
            )
        return found[0]

    def condition(self, where: Any) -> ColumnElement[bool] | None:
        """`where`, as an expression over this table alone."""
        if where is None:
            return None
        expression = where.__clause_element__() if hasattr(where, "__clause_element__") else where
        if not isinstance(expression, ColumnElement):
            raise Refusal(
                f"is {type(where).__name__} {where!r}, not an SQL expression: write it with the "
                "model's columns, such as Model.column == value or Model.column.is_(None)"
            )
        tables = sa.select(sa.literal(1)).where(expression).get_final_froms()
        if any(table is not self.table for table in tables):
            raise Refusal("reaches into another table: use relationship.has(…) or exists()")
        return expression

    def single_table_condition(self) -> ColumnElement[bool] | None:
        """Which rows of a shared table are of this class."""
        mapper = self.mapper
        if mapper is None or mapper.polymorphic_on is None or not mapper.single:
            return None
        identities = [each.polymorphic_identity for each in mapper.self_and_descendants]
        return mapper.polymorphic_on.in_([each for each in identities if each is not None])

    @property
    def discriminator(self) -> sa.Column[Any] | None:
        """The own column that tells the classes of the table's rows apart."""
        found = None if self.mapper is None else self.mapper.polymorphic_on
        return found if isinstance(found, sa.Column) and found.table is self.table else None

    def fillers(self, on_create: Mapping[str, Any]) -> dict[str, Filler]:
        """What fills a new row's columns on the client's side, by column name."""
        found = {}
        for column in self.table.columns:
            filler = _default_of(column)
            if filler is not None:
                found[column.name] = filler
        mapper, discriminator, version = self.mapper, self.discriminator, self.version
        if mapper is not None and discriminator is not None:
            identity = mapper.polymorphic_identity
            if identity is not None:
                found[discriminator.name] = Filler(discriminator, make=lambda _: identity)
        if mapper is not None and version is not None:
            generate: Any = mapper.version_id_generator
            found[version.name] = Filler(version, make=lambda _: generate(None))
        for name, value in on_create.items():
            column_ = self.column(name)
            if column_ is None:
                raise Refusal(f"on_create= names {name}, which is no column: correct its name")
            found[column_.name] = _given(column_, value)
        return found


def column_of(source: Any) -> sa.Column[Any]:
    """The table's column that an attribute of a class, or a column, means."""
    if not isinstance(source, sa.Column):
        attribute = None
        with suppress(Exception):  # An association proxy has none, and a hybrid may raise.
            attribute = source.property
        source = attribute.columns[0] if isinstance(attribute, ColumnProperty) else None
    if not isinstance(source, sa.Column):
        raise Refusal("is mapped onto what is no column: name an attribute or a column")
    return source


def foreign_keys(column: sa.Column[Any]) -> list[sa.ForeignKey]:
    """The foreign keys that consist of `column` alone."""
    return [
        key
        for key in column.foreign_keys
        if key.constraint is None or len(key.constraint.elements) == 1
    ]


def referred(key: sa.ForeignKey) -> sa.Column[Any] | None:
    try:
        return key.column
    except SQLAlchemyError:
        return None


def is_referred(column: sa.Column[Any], metadatas: Iterable[sa.MetaData]) -> bool:
    """Whether a foreign key of a table that the metadata know refers to `column`."""
    return any(
        referred(key) is column
        for metadata in metadatas
        for table in metadata.tables.values()
        for key in table.foreign_keys
    )


def _name(source: Source) -> str:
    return source if isinstance(source, str) else str(getattr(source, "key", source))


class _Context:
    """What a default that asks for the context gets: the row's values so far."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.current_parameters = dict(values)

    def get_current_parameters(self, **_options: Any) -> dict[str, Any]:
        return self.current_parameters


def _default_of(column: sa.Column[Any]) -> Filler | None:
    default: Any = column.default
    if default is None:
        return None
    if default.is_sequence:
        return Filler(column, expression=default.next_value(), sequence=True)
    if default.is_clause_element:
        return Filler(column, expression=default.arg)
    if default.is_callable:
        call: Callable[[Any], Any] = default.arg
        return Filler(column, make=lambda values: call(_Context(values)))
    if default.is_scalar:
        value = default.arg
        return Filler(column, make=lambda _: value, constant=value)
    return None


def _given(column: sa.Column[Any], value: Any) -> Filler:
    if hasattr(value, "__clause_element__"):
        value = value.__clause_element__()
    if isinstance(value, ClauseElement):
        return Filler(column, expression=cast("ColumnElement[Any]", value), by_host=True)
    if callable(value):
        return Filler(column, make=lambda _: value(), by_host=True)
    return Filler(column, make=lambda _: value, by_host=True, constant=value)
