"""What a host's `ModelMap`s resolve to: the table, the fields and the references of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, visitors

from hexhub_backup.archive.records import Kind
from hexhub_backup.registry.mapping.codecs import Codec


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
