"""Which tables of the database refer to the host's four, found by reflection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hexhub_backup.registry.mapping import MappedKinds


@dataclass(frozen=True, eq=False)
class Referring:
    """A foreign key: the rows of `table` that hold in `columns` what a row of ours has in
    `referred`. `of_itself` says that both are one table."""

    table: sa.TableClause
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    of_itself: bool


def referring(connection: sa.Connection, kinds: MappedKinds) -> Mapping[str, list[Referring]]:
    """The foreign keys that point at the table of each kind, by the kind's name. The host's
    models may know nothing of some of them: the database does."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name
    names = {
        (mapped.table.schema or default, mapped.table.name): name for name, mapped in kinds.items()
    }
    found: dict[str, list[Referring]] = {name: [] for name in kinds}
    schemas: list[str | None] = [None]
    if connection.dialect.name == "postgresql":
        system = ("information_schema", "pg_catalog", default)
        schemas += [each for each in inspector.get_schema_names() if each not in system]
    for schema in schemas:
        keys: Any = inspector.get_multi_foreign_keys(schema=schema)
        for (of_schema, table), constraints in keys.items():
            for each in constraints:
                target = (each["referred_schema"] or default, each["referred_table"])
                name = names.get(target)
                if name is None:
                    continue
                columns = tuple(each["constrained_columns"])
                # SQLite's short form of a foreign key names the primary key by naming nothing.
                referred = tuple(each["referred_columns"]) or tuple(
                    column.name for column in kinds[name].table.primary_key
                )
                # Also what tells the rows of the table itself apart.
                own = {column.name for column in kinds[name].identity}
                wanted = {*columns, *(own if target == (of_schema or default, table) else ())}
                found[name].append(
                    Referring(
                        sa.table(table, *map(sa.column, sorted(wanted)), schema=of_schema),
                        columns,
                        referred,
                        target == (of_schema or default, table),
                    )
                )
    return found
