"""PostgreSQL, by psycopg, psycopg2 or pg8000."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from hexhub_backup.databases import base, sentences
from hexhub_backup.databases.base import (
    Failure,
    IndexPart,
    Insertion,
    Misfit,
    Mode,
    ReflectedColumn,
    ReflectedIndex,
    StandardSQL,
    Steps,
    driver_errors,
    is_raised_by,
    strict_misfit,
)
from hexhub_backup.marking import marked

#: The upper half of the keys of our advisory locks; the lower one tells what is locked.
_SPACE = 0x6865_7862
_TAKE_LOCK = sa.text(
    "SELECT pg_try_advisory_lock((CAST(:space AS bigint) << 32) "
    "+ CAST(CAST(CAST(:name AS regclass) AS oid) AS bigint))"
)
_LOCK_SCHEMA = sa.text("SELECT pg_advisory_xact_lock(CAST(:space AS bigint) << 32)")


class PostgreSQL(StandardSQL):
    """See `base.Database`."""

    name = "PostgreSQL"
    has_lock = True
    coordinates = True
    checks_each_row = False

    def refuse_unusable(self, engine: sa.Engine, tables: Collection[sa.Table]) -> bool:
        """Every version that still gets updates will do."""
        return True

    # --- connections and transactions

    def take(self, connection: sa.Connection) -> Steps:
        """Make a transaction be one, in READ COMMITTED, whatever the engine's own isolation level
        is, AUTOCOMMIT and SERIALIZABLE included; and nothing end the session between two."""
        with connection.begin():
            shown = "SELECT current_setting('idle_session_timeout')"
            before = connection.exec_driver_sql(shown).scalar_one()
        _isolate(connection, isolation_level="READ COMMITTED")
        if before == "0":
            return []

        def idle(timeout: str) -> None:
            with connection.begin():
                connection.exec_driver_sql(
                    f"SELECT set_config('idle_session_timeout', '{timeout}', false)"
                )

        idle("0")
        return [connection.rollback, partial(idle, before)]

    def begin(
        self, connection: sa.Connection, mode: Mode
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        if mode == "snapshot":
            _isolate(connection, isolation_level="REPEATABLE READ", postgresql_readonly=True)
        begun = connection.begin()
        try:
            connection.exec_driver_sql(_timeouts(connection))
        except BaseException:
            base.clean_up(connection, begun.rollback)
            raise
        return begun.commit, begun.rollback

    def durable(self, connection: sa.Connection) -> AbstractContextManager[None]:
        return nullcontext()

    def keep_writers_out(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
        preparer = connection.dialect.identifier_preparer
        names = ", ".join(preparer.format_table(table) for table in tables)
        connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def check_constraints(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def take_lock(self, connection: sa.Connection, table: sa.Table) -> bool:
        """The key is the table, so that hosts in schemas of their own do not meet. It needs a
        session: a pooler such as PgBouncer has to be in session mode."""
        of = {"space": _SPACE, "name": table.name}
        return bool(connection.execute(_TAKE_LOCK, of).scalar_one())

    def lock_schema(self, connection: sa.Connection) -> None:
        connection.execute(_LOCK_SCHEMA, {"space": _SPACE})

    def now(self, connection: sa.Connection) -> datetime:
        aware: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return aware.astimezone(timezone.utc)

    # --- SQL and values

    def index_temporary(
        self, connection: sa.Connection, table: sa.Table, indexes: Sequence[sa.Index]
    ) -> None:
        super().index_temporary(connection, table, indexes)
        connection.exec_driver_sql(f"ANALYZE {table.name}")

    def in_byte_order(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return sa.cast(column, sa.Text()).collate("C")

    def keeps_json_text(self, dialect: sa.Dialect) -> bool:
        return False

    def misfit(self, type_: TypeEngine[Any]) -> Misfit | None:
        return strict_misfit(type_)

    # --- what the schema says

    def columns(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedColumn]:
        rows = connection.execute(_COLUMNS, {"table": self.quote(table.schema, table.name)})
        return [
            ReflectedColumn(
                row.name,
                type=row.type,
                collation=row.collation,
                default="GENERATED AS IDENTITY"
                if row.identity
                else None
                if row.generated
                else row.expression,
                generated=row.expression if row.generated else None,
            )
            for row in rows
        ]

    def unique_indexes(self, connection: sa.Connection, table: sa.Table) -> list[ReflectedIndex]:
        rows = connection.execute(_INDEXES, {"table": self.quote(table.schema, table.name)}).all()
        return [
            ReflectedIndex(
                name,
                tuple(
                    IndexPart(row.sql, row.collation, row.column)
                    for row in rows
                    if row.name == name
                ),
                condition=condition,
                nulls_distinct=nulls_distinct,
            )
            for name, condition, nulls_distinct in dict.fromkeys(
                (row.name, row.condition, row.nulls_distinct) for row in rows
            )
        ]

    def schemas_that_refer(
        self, connection: sa.Connection, tables: Collection[sa.Table]
    ) -> list[str | None]:
        inspector = sa.inspect(connection)
        system = ("information_schema", "pg_catalog", inspector.default_schema_name)
        return [None, *(each for each in inspector.get_schema_names() if each not in system)]

    def move_sequences(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, ColumnElement[Any]],
        written: ColumnElement[bool],
    ) -> None:
        """What a sequence gives is not in a transaction: it stays moved on also where that is
        rolled back."""
        if not values:
            return
        for column, sequence in self._sequences(connection, table, frozenset(values)):
            of = connection.execute(_OF_SEQUENCE, {"sequence": sequence}).one()
            furthest = sa.func.max if of.step > 0 else sa.func.min
            value = connection.execute(
                sa.select(furthest(values[column])).where(
                    written, values[column].between(of.least, of.most)
                )
            ).scalar_one()
            if value is not None:
                move = _MOVE.format(
                    oid=sequence,
                    name=of.name.replace(":", r"\:"),
                    value=f"({value})",
                    step=f"({of.step})",
                )
                connection.execute(sa.text(move))

    def _sequences(
        self, connection: sa.Connection, table: sa.Table, columns: frozenset[str]
    ) -> set[tuple[str, int]]:
        """Which sequence gives which of the columns its values."""
        rows = connection.execute(_OF_COLUMNS, {"table": self.quote(table.schema, table.name)})
        sequences = {(column, sequence) for column, sequence in rows if column in columns}
        for column in table.columns:
            default: Any = column.default
            if column.name in columns and isinstance(default, sa.Sequence):
                name = self.quote(default.schema, default.name)
                sequence = connection.execute(_BY_NAME, {"name": name}).scalar()
                if sequence is not None:
                    sequences.add((column.name, sequence))
        return sequences

    # --- errors

    def failure(self, orig: BaseException) -> Failure | None:
        fields = _fields(orig) if is_raised_by(orig, *_DRIVERS) else {}
        state = fields.pop("SQLSTATE", None)
        if not state:
            return None
        # What a trigger or function raises may name whatever it likes.
        trusted = state[:2] in ("22", "23", "42")
        names = [f"{kind} {name}" for kind, name in fields.items() if name and trusted]
        what, then = _FAILURES.get(state) or _FAILURES.get(state[:2]) or sentences.REFUSED
        if state.startswith(_LOST):
            return Failure("lost", *sentences.LOST, state)
        if state == "55P03":
            return Failure(
                "locked",
                marked(
                    "something else has kept the tables locked for "
                    f"{base.LOCK_TIMEOUT / 1000:g} seconds"
                ),
                marked("End it (pg_stat_activity shows it) and start again."),
                state,
            )
        if state.startswith(_OF_THE_SERVER):
            return Failure("server", what, then, state, tuple(names))
        cause: base.Cause = "statement" if state.startswith(_OF_THE_STATEMENT) else "record"
        return Failure(cause, what, then, state, tuple(names))


@compiles(Insertion, "postgresql")
def _overriding(insert: Insertion, compiler: Any, **options: Any) -> str:
    # Also for GENERATED ALWAYS AS IDENTITY.
    text: str = compiler.visit_insert(insert, **options)
    return text.replace(") SELECT ", ") OVERRIDING SYSTEM VALUE SELECT ", 1)


def _isolate(connection: sa.Connection, **options: Any) -> None:
    """Set what the driver sets for the transactions of a connection; its pool puts it back."""
    with driver_errors(connection):
        connection.execution_options(**options)


def _timeouts(connection: sa.Connection) -> str:
    """What sets ours until the end of the transaction, and the host's again with it."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if (connection.dialect.server_version_info or ()) >= (17,):
        names.append("transaction_timeout")
    ours = {**dict.fromkeys(names, 0), "lock_timeout": base.LOCK_TIMEOUT}
    return "SELECT " + ", ".join(
        f"set_config('{name}', '{value:d}', true)" for name, value in ours.items()
    )


# --- what the catalog says ---------------------------------------------------------------

# The database's default collation is what a text has by itself.
_COLUMNS = sa.text(
    """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
      (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname)
       FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
       WHERE c.oid = a.attcollation AND c.collname != 'default') AS collation,
      pg_get_expr(d.adbin, d.adrelid) AS expression,
      a.attgenerated != '' AS generated, a.attidentity != '' AS identity
    FROM pg_attribute AS a
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
    """
)
# One that is not yet ready for queries is upheld already. What an exclusion constraint holds is
# not equality.
_INDEXES = sa.text(
    """
    SELECT CAST(CAST(i.indexrelid AS regclass) AS text) AS name,
      NOT i.indnullsnotdistinct AS nulls_distinct,
      pg_get_expr(i.indpred, i.indrelid) AS condition,
      pg_get_indexdef(i.indexrelid, k.at, true) AS sql,
      (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname)
       FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
       WHERE c.oid = i.indcollation[k.at - 1] AND c.collname != 'default') AS collation,
      (SELECT a.attname FROM pg_attribute AS a
       WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k.at - 1] AND a.attnum > 0) AS column
    FROM pg_index AS i CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k(at)
    WHERE i.indrelid = CAST(:table AS regclass) AND i.indisunique AND NOT i.indisexclusion
      AND i.indisready AND i.indislive
    ORDER BY 1, k.at
    """
)
# Those that a column owns (serial, identity), and those that its default calls.
_OF_COLUMNS = sa.text(
    """
    SELECT a.attname, found.sequence FROM (
      SELECT d.refobjid AS relation, d.refobjsubid AS number, d.objid AS sequence
      FROM pg_depend AS d
      WHERE d.classid = CAST('pg_class' AS regclass) AND d.refclassid = d.classid
        AND d.deptype IN ('a', 'i')
      UNION
      SELECT a.adrelid, a.adnum, d.refobjid FROM pg_attrdef AS a
      JOIN pg_depend AS d ON d.classid = CAST('pg_attrdef' AS regclass) AND d.objid = a.oid
      WHERE d.refclassid = CAST('pg_class' AS regclass)
    ) AS found
    JOIN pg_sequence AS s ON s.seqrelid = found.sequence
    JOIN pg_attribute AS a ON a.attrelid = found.relation AND a.attnum = found.number
    WHERE found.relation = CAST(:table AS regclass)
    """
)
_BY_NAME = sa.text("SELECT seqrelid FROM pg_sequence WHERE seqrelid = to_regclass(:name)")
_OF_SEQUENCE = sa.text(
    "SELECT CAST(CAST(seqrelid AS regclass) AS text) AS name, seqincrement AS step, "
    "seqmin AS least, seqmax AS most FROM pg_sequence WHERE seqrelid = :sequence"
)
# In steps of its increment, as several servers may share a column by odd and even numbers. One
# statement, so that what others draw meanwhile is not taken back.
_MOVE = (
    "SELECT setval({oid}, CAST(last_value + floor(({value} - last_value) "
    "/ CAST({step} AS numeric)) * {step} AS bigint)) FROM {name} "
    "WHERE ({value} - last_value) * sign({step}) "
    ">= CASE WHEN is_called THEN abs({step}) ELSE 0 END"
)

# --- what its errors say -----------------------------------------------------------------

_DRIVERS = ("psycopg", "pg8000", "asyncpg")
#: SQLSTATEs, or their classes.
_FAILURES = {
    "22001": sentences.TOO_LONG,
    "22003": sentences.OUT_OF_RANGE,
    "22": sentences.NO_VALUE,
    "23502": sentences.NULL,
    "23503": sentences.NO_PARENT,
    "23505": sentences.NOT_UNIQUE,
    "23514": sentences.CHECK,
    "23": sentences.CONSTRAINT,
    "25006": sentences.READ_ONLY,
    "28": sentences.SHUT_OUT,
    "3D": sentences.NO_DATABASE,
    "40P01": sentences.DEADLOCK,
    "40": sentences.CHANGED,
    "42501": sentences.NO_RIGHT,
    "42703": sentences.NO_COLUMN,
    "42P01": sentences.NO_TABLE,
    "53100": sentences.FULL,
    "53300": sentences.CROWDED,
    "53": sentences.NO_ROOM,
    "57014": sentences.CANCELLED,
    "58": sentences.FAILED,
    "P0": sentences.TRIGGER,
    "XX": sentences.FAILED,
}
_LOST = ("08", "57P", "25P03", "25P04")
#: Classes that say nothing of a value.
_OF_THE_SERVER = ("08", "25", "28", "40", "53", "55", "57", "58", "XX")
#: Classes that are about the statement, and so the same for each record.
_OF_THE_STATEMENT = ("0A", "42")


def _fields(orig: BaseException) -> dict[str, Any]:
    """The structured fields of a driver's error that hold no values."""
    said = orig.args[0] if orig.args else None
    if isinstance(said, dict):
        # pg8000's, by the letters of the protocol.
        names = {"constraint": "n", "table": "t", "column": "c", "SQLSTATE": "C"}
        return {name: said.get(key) for name, key in names.items()}
    diag = getattr(orig, "diag", None)
    fields: dict[str, Any] = {
        name: getattr(diag, f"{name}_name", None) for name in ("constraint", "table", "column")
    }
    # psycopg 3 and psycopg2 do not agree on its name.
    fields["SQLSTATE"] = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return fields
