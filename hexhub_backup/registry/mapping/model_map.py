"""What a host writes: how each of its models is one of the four kinds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

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
    `version_id_col` is counted. The page *Map your models* of the manual lists what does not.
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
