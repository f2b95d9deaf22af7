"""How a host's models become the four kinds: what a host writes, and what it resolves to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import ColumnElement, visitors

from hexhub_backup.archive.records import Kind
from hexhub_backup.registry.codecs import Codec

#: Both travel, and neither makes a record differ.
VOLATILE = ("downloads", "updated_at")

Source = str | InstrumentedAttribute[Any] | sa.Column[Any]


@dataclass(frozen=True, eq=False)
class Field:
    """A column, and a pair of functions for a type that has no rule of its own.

    `encode` gets what the database gave and returns a JSON value, `decode` the reverse;
    neither is called with None. Either may raise: the record is refused, or blocked.
    """

    column: Source
    encode: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    decode: Callable[[Any], Any] | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class ModelMap:
    """One kind's model (a mapped class or a Table), and how its fields are named there.

    - `fields`: field to attribute, column, `"relationship.column"`, `"fk_column.column"` or
      `Field`. A field that has the name of a column needs no entry, and neither has a
      release's `package_name` or an owner's `username` where there is one foreign key.
    - `extra`: columns of the host's own that travel too. A primary key, and a column that a
      foreign key refers to, is written on create and never overwritten.
    - `where`: which rows count; an expression over the model's own columns, or EXISTS.
    - `protected`: columns that travel, and come in only when the admin grants it.
    - `volatile`: fields that travel, and are not compared.
    - `totp_secret`: of users, the column that tells whether there is a second factor.
    - `on_create`: column to value, callable (called for each row) or SQL expression, for what
      a new row needs and an archive does not have.
    - `timezone`: what a naive datetime in the database means.

    A restore writes tables, not objects: of the model's own code only defaults run, and
    `version_id_col` is counted. The README lists what does not.
    """

    model: Any
    fields: Mapping[str, Source | Field] | None = None
    extra: Sequence[str] = field(default=(), kw_only=True)
    where: Any = field(default=None, kw_only=True)
    protected: Sequence[str] = field(default=(), kw_only=True)
    volatile: Sequence[str] = field(default=VOLATILE, kw_only=True)
    totp_secret: Source | None = field(default=None, kw_only=True)
    on_create: Mapping[str, Any] | None = field(default=None, kw_only=True)
    timezone: dt.tzinfo = field(default=dt.timezone.utc, kw_only=True)


@dataclass(frozen=True, eq=False)
class Reference:
    """A column of another table that stands in for an own one.

    `local` equals `remote` there, and `value`, of the same row, is what an archive holds.
    `parent` is the kind of that row where it is a key field that refers to a package or a
    user: the record exists by it. `foreign`: without that row the own row does not count.
    """

    local: sa.Column[Any]
    remote: sa.Column[Any]
    value: sa.Column[Any]
    kind: Kind | None
    parent: bool
    foreign: bool

    @property
    def natural(self) -> bool:
        """The own column holds the very value, so that nothing has to be looked up."""
        return self.remote is self.value


@dataclass(frozen=True, eq=False)
class MappedField:
    """A field that travels. `column` holds the value: an own one, or a reference's.

    `fixed`: rows of other tables may point at its value, so that it is written on create, and
    neither overwritten nor compared.
    """

    name: str
    column: sa.Column[Any]
    codec: Codec
    key: bool
    protected: bool
    volatile: bool
    fixed: bool
    reference: Reference | None

    @property
    def looked_up(self) -> bool:
        """The own column holds something else, such as an integer that stands for it."""
        return self.reference is not None and not self.reference.natural

    @property
    def own(self) -> sa.Column[Any]:
        """The own table's column that a write sets."""
        return self.column if self.reference is None else self.reference.local


@dataclass(frozen=True, eq=False)
class Filler:
    """What a new row gets in a column that the record does not set.

    `make` gives a Python value for each row (it is handed the row's values so far);
    `expression` is one of SQL. Exactly one is set.
    """

    column: sa.Column[Any]
    make: Callable[[Mapping[str, Any]], Any] | None = None
    expression: ColumnElement[Any] | None = None
    #: Given by `on_create`: then it also replaces a null that the column can not hold.
    by_host: bool = False
    #: The expression is a sequence, which not every database has.
    sequence: bool = False
    #: What `make` gives each row, where that is always the same.
    constant: Any = None


@dataclass(frozen=True, eq=False)
class MappedKind:
    """One kind as resolved: its table, its fields (key fields first), and what else to know."""

    kind: Kind
    label: str
    table: sa.Table
    fields: tuple[MappedField, ...]
    where: ColumnElement[bool] | None
    fillers: Mapping[str, Filler]
    totp_secret: sa.Column[Any] | None
    #: The model's `version_id_col`: each overwrite moves it on, so that a session of the host's
    #: that has read the row before finds its copy stale.
    version: sa.Column[Any] | None = None

    @property
    def keys(self) -> tuple[MappedField, ...]:
        return tuple(each for each in self.fields if each.key)

    @property
    def identity(self) -> tuple[sa.Column[Any], ...]:
        """The own columns that hold the key: together unique."""
        return tuple(each.own for each in self.keys)

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(each.reference for each in self.fields if each.reference is not None)


MappedKinds = Mapping[str, MappedKind]


def columns_in(expression: Any) -> frozenset[sa.Column[Any]]:
    """The tables' columns that an expression is made of."""
    return frozenset(each for each in visitors.iterate(expression) if isinstance(each, sa.Column))


def is_unique(table: sa.Table, columns: Sequence[sa.Column[Any]]) -> bool:
    """Whether the metadata says that `columns` are unique together, whatever else a row has."""
    wanted = set(columns)
    keys = (sa.PrimaryKeyConstraint, sa.UniqueConstraint)
    found = [set(each.columns) for each in table.constraints if isinstance(each, keys)]
    for index in table.indexes:
        if index.unique and not any(
            option.endswith("_where") and value is not None
            for option, value in index.dialect_kwargs.items()
        ):
            # SQL that is only text is over nobody knows which columns.
            parts = list(map(columns_in, index.expressions))
            found += [set().union(*parts)] if all(parts) else []
    return any(each and each <= wanted for each in found)
