"""MariaDB: the copy is in another database of the same server, which a setting names.

DDL commits, so that what a killed process has left is told by a table of its own name.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from hexhub_backup.databases import mariadb_schema
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import is_lost, translated
from hexhub_backup.databases.mariadb_schema import quote
from hexhub_backup.databases.scratch.base import (
    Blueprint,
    ScratchPlace,
    add_foreign_keys,
    fill,
    statement_of,
    triggers_of,
)
from hexhub_backup.errors import RehearsalError

_TABLES = sa.text(
    "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = :database"
)
_TRIGGERS = sa.text(
    "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS "
    "WHERE EVENT_OBJECT_SCHEMA = COALESCE(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :table"
)
_COPIED = sa.text(
    "SELECT COLUMN_NAME FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table "
    "AND COALESCE(GENERATION_EXPRESSION, '') = ''"
)


class MariaDBScratch:
    """See `base.Scratching`."""

    def schema(self, place: ScratchPlace) -> str | None:
        return place.database

    def refuse_unable(self, live: sa.Engine, place: ScratchPlace) -> None:
        if place.database is None:
            raise RehearsalError(
                "A rehearsal restores into a database of its own on the same server: create one, "
                "grant all on it to the registry's user, and name it in "
                "HEXHUB_BACKUP_REHEARSAL_DATABASE."
            )
        database = quote(place.database)
        with connected(live) as connection:
            own = connection.exec_driver_sql("SELECT DATABASE()").scalar_one()
            if own == place.database:
                raise RehearsalError(
                    f"HEXHUB_BACKUP_REHEARSAL_DATABASE names {own}, the registry's own database: "
                    "create another one for rehearsals."
                )
            tables = connection.execute(_TABLES, {"database": place.database}).all()
            if tables:
                raise RehearsalError(
                    f"The database {place.database}, in which rehearsals restore, has a table "
                    f"{tables[0].TABLE_NAME}: name an empty one in "
                    "HEXHUB_BACKUP_REHEARSAL_DATABASE, or delete what is in it."
                )
            account = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one())
            user = "@".join(map(quote, account.rsplit("@", 1)))
            try:
                for statement in ("CREATE TABLE {} (n INTEGER)", "DROP TABLE {}"):
                    table = quote(place.database, _mark(place))
                    connection.execute(statement_of(statement.format(table)))
            except DBAPIError as error:
                if is_lost(error):
                    raise
                raise RehearsalError(
                    f"A rehearsal restores into the database {place.database}, and the registry's "
                    "user may not make tables there: run "
                    f"CREATE DATABASE IF NOT EXISTS {database}; "
                    f"GRANT ALL PRIVILEGES ON {database}.* TO {user};"
                ) from None

    def engine(self, live: sa.Engine, place: ScratchPlace) -> AbstractContextManager[sa.Engine]:
        return nullcontext(live.execution_options())

    def make(
        self, live: sa.Engine, scratch: sa.Engine, place: ScratchPlace, blueprint: Blueprint
    ) -> list[str]:
        schema, left = str(place.database), list[str]()
        with connected(live) as connection, translated("The tables can not be copied"):
            connection.execute(
                statement_of(f"CREATE TABLE {quote(schema, _mark(place))} (n INTEGER)")
            )
            for name in sorted(blueprint.sequences):
                connection.execute(statement_of(f"CREATE SEQUENCE {quote(schema, name)}"))
            for name, host in blueprint.tables.items():
                copy = quote(schema, name)
                connection.execute(statement_of(f"CREATE TABLE {copy} LIKE {quote(host, name)}"))
                of = {"schema": host, "table": name}
                if name in blueprint.own:
                    for column, sequence in mariadb_schema.drawn_from(connection, host, name):
                        own = quote(schema, sequence)
                        for statement in (
                            f"CREATE SEQUENCE IF NOT EXISTS {own}",
                            f"ALTER TABLE {copy} ALTER COLUMN {quote(column)} "
                            f"SET DEFAULT (NEXT VALUE FOR {own})",
                        ):
                            connection.execute(statement_of(statement))
                    left += triggers_of(name, connection.execute(_TRIGGERS, of).scalars())
                if name in blueprint.filled:
                    columns = connection.execute(_COPIED, of).scalars().all()
                    with transaction(connection, "writing"):
                        fill(connection, name, columns, host=host, schema=schema)
            add_foreign_keys(connection, schema, blueprint.foreign_keys)
        return left

    def remove(self, live: sa.Engine, place: ScratchPlace) -> None:
        """All that is in the database, where its mark says that a rehearsal made it."""
        if place.database is None:
            return
        with (
            connected(live) as connection,
            translated(f"The tables in {place.database} can not be removed"),
        ):
            tables = connection.execute(_TABLES, {"database": place.database}).all()
            if _mark(place) not in {row.TABLE_NAME for row in tables}:
                return
            checks = connection.exec_driver_sql("SELECT @@SESSION.foreign_key_checks").scalar_one()
            connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")
            try:
                # The mark goes last.
                for row in sorted(tables, key=lambda row: _mark(place) == row.TABLE_NAME):
                    kind = "SEQUENCE" if row.TABLE_TYPE == "SEQUENCE" else "TABLE"
                    table = quote(place.database, row.TABLE_NAME)
                    connection.execute(statement_of(f"DROP {kind} IF EXISTS {table}"))
            finally:
                connection.exec_driver_sql(f"SET SESSION foreign_key_checks = {checks:d}")


def _mark(place: ScratchPlace) -> str:
    return f"hexhub_backup_{place.name}"
