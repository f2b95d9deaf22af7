"""Columns and unique indexes of a table, as PostgreSQL's catalog has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from hexhub_backup.registry.queries import quoted

_COLLATION = "quote_ident(n.nspname) || '.' || quote_ident(c.collname)"
# The database's default collation is what a text has by itself.
_COLUMNS = sa.text(
    f"""
    SELECT a.attname, format_type(a.atttypid, a.atttypmod),
      (SELECT {_COLLATION} FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
       WHERE c.oid = a.attcollation AND c.collname != 'default'),
      pg_get_expr(d.adbin, d.adrelid), a.attgenerated != '', a.attidentity != ''
    FROM pg_attribute AS a
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
    """  # noqa: S608 (a constant)
)
# One that is not yet ready for queries is upheld already. What an exclusion constraint holds is
# not equality.
_INDEXES = sa.text(
    f"""
    SELECT CAST(i.indexrelid AS regclass)::text, i.indnullsnotdistinct,
      pg_get_expr(i.indpred, i.indrelid), k.at, pg_get_indexdef(i.indexrelid, k.at, true),
      (SELECT {_COLLATION} FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
       WHERE c.oid = i.indcollation[k.at - 1] AND c.collname != 'default'),
      (SELECT a.attname FROM pg_attribute AS a
       WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k.at - 1] AND a.attnum > 0)
    FROM pg_index AS i CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k(at)
    WHERE i.indrelid = CAST(:table AS regclass) AND i.indisunique AND NOT i.indisexclusion
      AND i.indisready AND i.indislive
    ORDER BY 1, k.at
    """  # noqa: S608 (a constant)
)


def columns(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each column's name, and what `held.HeldColumn` says of it."""
    for name, type_, collation, default, generated, identity in _rows(connection, table, _COLUMNS):
        yield (
            name,
            {
                "type": type_,
                "collation": collation,
                "default": "GENERATED AS IDENTITY" if identity else None if generated else default,
                "generated": default if generated else None,
            },
        )


def unique_indexes(connection: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    """Each unique index, also that of a constraint, as `held.reflected` takes it."""
    found: dict[str, dict[str, Any]] = {}
    for name, not_distinct, where, _, text, collation, column in _rows(connection, table, _INDEXES):
        index = found.setdefault(
            name,
            {"name": name, "parts": [], "condition": where, "nulls_distinct": not not_distinct},
        )
        index["parts"].append((text, collation, column))
    yield from found.values()


def _rows(connection: sa.Connection, table: sa.Table, query: sa.TextClause) -> list[Any]:
    return list(connection.execute(query, {"table": quoted(table.schema, table.name)}).all())
