"""What a scratch copy of the host's tables asks of a database, and what all of them share.

The tables are made as the database itself has them, so that each rule is there which a restore
would meet, whoever has made it: a migration, or an admin by hand. They begin empty, but for the
rows of other tables which the host's refer to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.schema import AddConstraint

from hexhub_backup.databases.base import Insertion
from hexhub_backup.errors import RehearsalError
from hexhub_backup.marking import marked


@dataclass(frozen=True, kw_only=True)
class ScratchPlace:
    """Where one rehearsal has its copy: `name` is its own among all, `folder` is there and goes
    with it, `database` is the one that a setting names for the databases which need that."""

    name: str
    folder: Path
    database: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """One of a table of the host's, as the database has it."""

    table: str
    name: str | None
    columns: tuple[str, ...]
    referred: str
    referred_columns: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Blueprint:
    """What is copied: tables by name, each with the schema that it is in. Those in `filled` get
    their rows too, `sequences` are those that only the host's models know."""

    tables: Mapping[str, str | None]
    own: Collection[str]
    filled: Collection[str]
    foreign_keys: Sequence[ForeignKey]
    sequences: Collection[str]


class Scratching(Protocol):
    """One kind of database. All functions take the engine of the host's tables."""

    def schema(self, place: ScratchPlace) -> str | None:
        """The schema in which the copies are; None where they are called as the host's tables."""
        ...

    def refuse_unable(self, live: sa.Engine, place: ScratchPlace) -> None:
        """Raise RehearsalError where this database can't take a copy, with what lets it."""
        ...

    def engine(self, live: sa.Engine, place: ScratchPlace) -> AbstractContextManager[sa.Engine]:
        """What the copies are reached by."""
        ...

    def make(
        self, live: sa.Engine, scratch: sa.Engine, place: ScratchPlace, blueprint: Blueprint
    ) -> list[str]:
        """Make the tables, and return what of the host's could not be copied, in words. Raises
        DatabaseError, RehearsalError."""
        ...

    def remove(self, live: sa.Engine, place: ScratchPlace) -> None:
        """Let nothing be left of it but the folder. Idempotent. Raises DatabaseError."""
        ...


def blueprint(
    connection: sa.Connection,
    own: Mapping[sa.Table, AbstractSet[str]],
    others: Collection[sa.Table],
) -> Blueprint:
    """What a copy of the `own` tables needs, each with the columns that a restore writes: the
    tables that their foreign keys refer to, and `others` that the host's mapping reads. Raises
    RehearsalError where two of them have one name."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name
    tables: dict[str, str | None] = {}
    names = {table.name for table in own}

    def add(name: str, schema: str | None) -> None:
        schema = None if schema == default else schema
        if tables.setdefault(name, schema) != schema:
            raise RehearsalError(
                f"There are two tables called {name}, in two schemas: a rehearsal, which has one "
                "schema, can't hold both."
            )

    for table in (*own, *others):
        add(table.name, table.schema)
    filled = {table.name for table in others} - names
    keys = []
    for table, written in own.items():
        columns = inspector.get_columns(table.name, schema=table.schema)
        filled_in = written | {each["name"] for each in columns if each.get("default") is not None}
        for each in inspector.get_foreign_keys(table.name, schema=table.schema):
            referred = str(each["referred_table"])
            add(referred, each["referred_schema"])
            if referred not in names and not filled_in.isdisjoint(each["constrained_columns"]):
                filled.add(referred)
            keys.append(
                ForeignKey(
                    table.name,
                    None if each["name"] is None else str(each["name"]),
                    tuple(each["constrained_columns"]),
                    referred,
                    tuple(each["referred_columns"]),
                    dict(each.get("options") or {}),
                )
            )
    defaults = (column.default for table in own for column in table.columns)
    sequences = {each.name for each in defaults if isinstance(each, sa.Sequence)}
    return Blueprint(tables, names, filled, keys, sequences)


def add_foreign_keys(
    connection: sa.Connection, schema: str | None, keys: Iterable[ForeignKey]
) -> None:
    """Add them to the tables that were made without."""
    for key in keys:
        metadata = sa.MetaData()
        referred = sa.Table(
            key.referred, metadata, *map(sa.Column, key.referred_columns), schema=schema
        )
        table = sa.Table(key.table, metadata, schema=schema)
        for name in key.columns:
            table.append_column(sa.Column(name), replace_existing=True)
        constraint = sa.ForeignKeyConstraint(
            key.columns,
            [referred.c[name] for name in key.referred_columns],
            key.name,
            **key.options,
        )
        table.append_constraint(constraint)
        connection.execute(AddConstraint(constraint))


def fill(
    connection: sa.Connection,
    name: str,
    columns: Iterable[str],
    *,
    host: str | None,
    schema: str | None,
) -> None:
    """Copy the rows of a table of the schema `host` to that in `schema`."""
    names = list(columns)
    parts: list[Any] = [sa.column(each) for each in names]
    rows = sa.select(sa.table(name, *parts, schema=host))
    copy = sa.table(name, *(sa.column(each) for each in names), schema=schema)
    connection.execute(Insertion(copy).from_select(names, rows))


def statement_of(sql: str) -> sa.TextClause:
    """SQL without parameters, whatever is in it."""
    return sa.text(sql.replace(":", r"\:"))


def triggers_of(table: str, names: Iterable[str]) -> list[str]:
    """What is said of those that could not be copied: they may reach beyond these tables."""
    return [marked(f"trigger {name} of {table}") for name in sorted(names)]
