"""SQLite: the copy is a file of its own, made by the very statements of the host's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.scratch.base import Blueprint, ScratchPlace, triggers_of
from hexhub_backup.databases.sqlite import pragma
from hexhub_backup.errors import RehearsalError

_FILE = "registry.sqlite"
_MAIN = (None, "main")
#: Rows that are in memory at a time.
_MANY = 1000
_SQL = sa.text(
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name IN :tables "
    "AND sql IS NOT NULL ORDER BY type = 'index', rowid"
).bindparams(sa.bindparam("tables", expanding=True))


class SQLiteScratch:
    """See `base.Scratching`."""

    def schema(self, place: ScratchPlace) -> str | None:
        return None

    def refuse_unable(self, live: sa.Engine, place: ScratchPlace) -> None:
        """A folder is all that it takes."""

    @contextmanager
    def engine(self, live: sa.Engine, place: ScratchPlace) -> Iterator[sa.Engine]:
        dialect: Any = live.dialect
        url = live.url.set(database=str(place.folder / _FILE), query={})
        scratch = sa.create_engine(
            url,
            json_serializer=dialect._json_serializer,
            json_deserializer=dialect._json_deserializer,
        )
        # What the host sets on each connection: foreign keys, functions, collations.
        for listener in live.pool.dispatch.connect:
            sa.event.listen(scratch, "connect", listener)
        try:
            yield scratch
        finally:
            scratch.dispose()

    def make(
        self, live: sa.Engine, scratch: sa.Engine, place: ScratchPlace, blueprint: Blueprint
    ) -> list[str]:
        attached = {schema for schema in blueprint.tables.values() if schema not in _MAIN}
        if attached:
            raise RehearsalError(
                f"Tables of the registry are in attached databases ({', '.join(attached)}), which "
                "a rehearsal can't copy."
            )
        with connected(live) as host, transaction(host), connected(scratch) as connection:
            driver: Any = connection.connection.driver_connection
            # The copied rows refer to rows that are not.
            driver.execute("PRAGMA foreign_keys = OFF")
            with transaction(connection, "writing"), translated("The tables can not be copied"):
                left = list[str]()
                found = host.execute(_SQL, {"tables": sorted(blueprint.tables)}).all()
                for type_, name, table, sql in found:
                    if type_ == "trigger":
                        left += triggers_of(table, [name])
                    else:
                        connection.exec_driver_sql(sql)
                for name in sorted(blueprint.filled):
                    _copy_rows(host, connection, name)
            # The host's own choice is that of a new connection.
            connection.detach()
        return left

    def remove(self, live: sa.Engine, place: ScratchPlace) -> None:
        """It is in the folder."""


def _copy_rows(host: sa.Connection, connection: sa.Connection, name: str) -> None:
    # Without types: a value stays what the driver makes of it.
    columns: list[Any] = [
        sa.column(row.name)
        for row in pragma(host, None, "table_xinfo", name)
        # Neither generated nor hidden.
        if row.hidden == 0
    ]
    table = sa.table(name, *columns)
    rows = host.execute(sa.select(table))
    for batch in iter(partial(rows.fetchmany, _MANY), []):
        connection.execute(sa.insert(table), [dict(row._mapping) for row in batch])
