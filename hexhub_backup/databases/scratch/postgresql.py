"""PostgreSQL: the copy is a schema in the host's own database."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateSchema, DropSchema

from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.known import database_of
from hexhub_backup.databases.scratch.base import (
    Blueprint,
    ScratchPlace,
    add_foreign_keys,
    fill,
    statement_of,
    triggers_of,
)
from hexhub_backup.errors import RehearsalError
from hexhub_backup.marking import marked

_QUOTE = "'"
_MAY_CREATE = sa.text(
    "SELECT has_database_privilege(current_database(), 'CREATE'), "
    "quote_ident(current_database()), quote_ident(current_user)"
)
_TRIGGERS = sa.text(
    "SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND NOT tgisinternal"
)
_POLICIES = sa.text("SELECT polname FROM pg_policy WHERE polrelid = CAST(:table AS regclass)")
# The sequences that a column's default calls; those of an identity are made with the table.
_DEFAULTS = sa.text(
    """
    SELECT a.attname AS column, pg_get_expr(d.adbin, d.adrelid) AS expression,
      CAST(CAST(s.seqrelid AS regclass) AS text) AS sequence, c.relname AS name,
      format_type(s.seqtypid, NULL) AS type, s.seqincrement AS step, s.seqmin AS least,
      s.seqmax AS most
    FROM pg_attrdef AS d
    JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    JOIN pg_depend AS p ON p.classid = CAST('pg_attrdef' AS regclass) AND p.objid = d.oid
      AND p.refclassid = CAST('pg_class' AS regclass)
    JOIN pg_sequence AS s ON s.seqrelid = p.refobjid
    JOIN pg_class AS c ON c.oid = s.seqrelid
    WHERE d.adrelid = CAST(:table AS regclass) AND a.attgenerated = ''
    """
)
_COPIED = sa.text(
    "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 "
    "AND NOT attisdropped AND attgenerated = ''"
)


class PostgreSQLScratch:
    """See `base.Scratching`."""

    def schema(self, place: ScratchPlace) -> str | None:
        return f"hexhub_backup_{place.name}"

    def refuse_unable(self, live: sa.Engine, place: ScratchPlace) -> None:
        with connected(live) as connection, transaction(connection):
            may_create, database, user = connection.execute(_MAY_CREATE).one()
        if not may_create:
            raise RehearsalError(
                "A rehearsal restores into a schema of its own, and the registry's user may not "
                f"make one: run GRANT CREATE ON DATABASE {database} TO {user};"
            )

    def engine(self, live: sa.Engine, place: ScratchPlace) -> AbstractContextManager[sa.Engine]:
        # Its own, for what is compiled: the same tables never come again.
        return nullcontext(live.execution_options())

    def make(
        self, live: sa.Engine, scratch: sa.Engine, place: ScratchPlace, blueprint: Blueprint
    ) -> list[str]:
        schema, left = str(self.schema(place)), list[str]()
        with (
            connected(live) as connection,
            transaction(connection, "writing"),
            translated("The tables can not be copied"),
        ):
            quote = database_of(connection).quote
            connection.execute(CreateSchema(schema))
            for name in sorted(blueprint.sequences):
                connection.execute(statement_of(f"CREATE SEQUENCE {quote(schema, name)}"))
            for name, host in blueprint.tables.items():
                live_table, copy = quote(host, name), quote(schema, name)
                connection.execute(
                    statement_of(f"CREATE TABLE {copy} (LIKE {live_table} INCLUDING ALL)")
                )
                of = {"table": live_table}
                if name in blueprint.own:
                    for each in connection.execute(_DEFAULTS, of).all():
                        _own_sequence(connection, schema, copy, each)
                    left += triggers_of(name, connection.execute(_TRIGGERS, of).scalars())
                    policies = sorted(connection.execute(_POLICIES, of).scalars())
                    left += [marked(f"policy {policy} of {name}") for policy in policies]
                if name in blueprint.filled:
                    columns = connection.execute(_COPIED, of).scalars().all()
                    fill(connection, name, columns, host=host, schema=schema)
            add_foreign_keys(connection, schema, blueprint.foreign_keys)
        return left

    def remove(self, live: sa.Engine, place: ScratchPlace) -> None:
        schema = str(self.schema(place))
        with (
            connected(live) as connection,
            transaction(connection, "writing"),
            translated(f"The schema {schema} can not be removed"),
        ):
            connection.execute(DropSchema(schema, cascade=True, if_exists=True))


def _own_sequence(connection: sa.Connection, schema: str, copy: str, default: Any) -> None:
    """Let a column of the copy draw from a sequence of its own: the host's would move on."""
    quote = database_of(connection).quote
    sequence = quote(schema, default.name)
    hosts, own = (f"'{each.replace(_QUOTE, _QUOTE * 2)}'" for each in (default.sequence, sequence))
    for statement in (
        f"CREATE SEQUENCE IF NOT EXISTS {sequence} AS {default.type} "
        f"INCREMENT BY {default.step} MINVALUE {default.least} MAXVALUE {default.most}",
        f"ALTER TABLE {copy} ALTER COLUMN {quote(default.column)} "
        f"SET DEFAULT {default.expression.replace(hosts, own)}",
    ):
        connection.execute(statement_of(statement))
