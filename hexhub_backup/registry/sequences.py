"""PostgreSQL's sequences are moved past what a restore has written in their columns."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hexhub_backup.registry.mapping import MappedKind
from hexhub_backup.registry.queries import quoted
from hexhub_backup.registry.staging import Staged

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
    "SELECT CAST(CAST(seqrelid AS regclass) AS text), seqincrement, seqmin, seqmax "
    "FROM pg_sequence WHERE seqrelid = :sequence"
)
# In steps of its increment, as several servers may share a column by odd and even numbers. One
# statement, so that what others draw meanwhile is not taken back.
_MOVE = (
    "SELECT setval({oid}, CAST(last_value + floor(({value} - last_value) "
    "/ CAST({step} AS numeric)) * {step} AS bigint)) FROM {name} "
    "WHERE ({value} - last_value) * sign({step}) "
    ">= CASE WHEN is_called THEN abs({step}) ELSE 0 END"
)


def move_on(connection: sa.Connection, staged: Staged) -> None:
    """Let no sequence give a value that the staged records have brought with them; never
    backward. What a sequence gives is not in a transaction: it stays moved on also where that is
    rolled back. SQLite's AUTOINCREMENT sees to it by itself.
    """
    if connection.dialect.name != "postgresql":
        return
    written = {
        field.own.name: staged.values[field.name]
        for field in staged.mapped.fields
        if isinstance(field.own.type, sa.Integer) and staged.writes(field) and not field.looked_up
    }
    if not written:
        return
    for column, sequence in _sequences(connection, staged.mapped, frozenset(written)):
        name, step, least, most = connection.execute(_OF_SEQUENCE, {"sequence": sequence}).one()
        values = written[column]
        furthest = (sa.func.max if step > 0 else sa.func.min)(values)
        value = connection.execute(
            sa.select(furthest).where(
                staged.table.c.action.is_not(None), values.between(least, most)
            )
        ).scalar_one()
        if value is not None:
            move = _MOVE.format(
                oid=sequence, name=name.replace(":", r"\:"), value=f"({value})", step=f"({step})"
            )
            connection.execute(sa.text(move))


def _sequences(
    connection: sa.Connection, mapped: MappedKind, columns: frozenset[str]
) -> set[tuple[str, int]]:
    """Which sequence gives which of the columns its values."""
    rows = connection.execute(
        _OF_COLUMNS, {"table": quoted(mapped.table.schema, mapped.table.name)}
    ).all()
    found = {(column, sequence) for column, sequence in rows if column in columns}
    for column in mapped.table.columns:
        default: Any = column.default
        if column.name in columns and isinstance(default, sa.Sequence):
            sequence = connection.execute(
                _BY_NAME, {"name": quoted(default.schema, default.name)}
            ).scalar()
            if sequence is not None:
                found.add((column.name, sequence))
    return found
