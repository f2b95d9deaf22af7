"""Columns and unique indexes of a table, as SQLite's schema has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] |
        --[^\n]* | /\*.*?\*/ | \w+ | \s+ | .""",
    re.S | re.X,
)
# What may stand behind the SQL of a part; its collation is known otherwise.
_BEHIND = re.compile(
    r"""(?:\s+COLLATE\s+("[^"]*"|\[[^\]]*\]|\w+))?(?:\s+(?:ASC|DESC))?\s*$""", re.I
)
# 2 and 3: generated, virtual and stored.
_GENERATED = (2, 3)


def columns(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each column's name, and what `held.HeldColumn` says of it."""
    rows = _pragma(connection, table.schema, "table_xinfo", table.name)
    generated: dict[str, str] = {}
    if any(row.hidden in _GENERATED for row in rows):
        found: Any = sa.inspect(connection).get_columns(table.name, schema=table.schema)
        generated = {
            each["name"]: each["computed"]["sqltext"] for each in found if each.get("computed")
        }
    for row in rows:
        # A rowid is filled where it is the table's key.
        default = "rowid" if row.pk and row.dflt_value is None else row.dflt_value
        yield row.name, {"default": default, "generated": generated.get(row.name)}


def unique_indexes(connection: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    """Each unique index, also that of a constraint, as `held.reflected` takes it."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    master = "sqlite_master" if table.schema is None else f"{quote(table.schema)}.sqlite_master"
    keyed = False
    for index in _pragma(connection, table.schema, "index_list", table.name):
        keyed = keyed or index.origin == "pk"
        if not index.unique:
            continue
        rows = _pragma(connection, table.schema, "index_xinfo", index.name)
        sql = connection.exec_driver_sql(
            f"SELECT sql FROM {master} WHERE type = 'index' AND name = ?",  # noqa: S608 (quoted)
            (index.name,),
        ).scalar()
        texts, condition = ([], None) if sql is None else _parts(sql)
        yield {
            "name": index.name,
            "condition": condition,
            "parts": [
                (
                    texts[row.seqno] if row.name is None else quote(row.name),
                    quote(row.coll),
                    row.name,
                )
                for row in rows
                if row.key
            ],
        }
    key = [row for row in _pragma(connection, table.schema, "table_xinfo", table.name) if row.pk]
    if key and not keyed:
        # An INTEGER PRIMARY KEY is the rowid itself, and has no index.
        parts = [(quote(row.name), None, row.name) for row in key]
        yield {"name": None, "condition": None, "parts": parts}


def _pragma(connection: sa.Connection, schema: str | None, pragma: str, of: str) -> list[Any]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    where = "" if schema is None else f"{quote(schema)}."
    return list(connection.exec_driver_sql(f"PRAGMA {where}{pragma}({quote(of)})").all())


def _parts(sql: str) -> tuple[list[str], str | None]:
    """The SQL of each part of a CREATE INDEX, and of its WHERE."""
    parts: list[str] = []
    text, depth, behind = "", 0, ""
    for token in _TOKEN.findall(sql):
        if token.startswith(("--", "/*")):
            text += " "
        elif depth == 0 and parts:
            behind += token
        elif token == "(":  # noqa: S105 (of SQL)
            depth += 1
            text = "" if depth == 1 else text + token
        elif (token == "," and depth == 1) or (token == ")" and depth == 1):  # noqa: S105
            parts.append(_BEHIND.sub("", text).strip())
            text, depth = "", depth - (token == ")")  # noqa: S105
        else:
            depth -= token == ")"  # noqa: S105
            text += token
    condition = re.sub(r"^\s*WHERE\b", "", behind, flags=re.I).strip().rstrip(";")
    return parts, condition or None
