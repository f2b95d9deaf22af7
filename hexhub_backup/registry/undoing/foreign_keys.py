"""Which tables of the database refer to the host's four, found by reflection."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS
from hexhub_backup.databases.known import database_of
from hexhub_backup.registry.mapping.mapped_kinds import MappedKinds

#: The kinds in the order in which their rows are deleted: children come first.
ORDER = tuple(kind.name for kind in reversed(KINDS))


@dataclass(frozen=True, eq=False)
class Referring:
    """A foreign key: the rows of `table` that hold in `columns` what a row of `kind` has in
    `referred`.

    `of` is the kind whose table `table` is, None for any other table. For a key which is still in
    the way when a row of `kind` and one of `of` that refers to it are both deleted, `clears` are
    the columns that are set to null first; where that can't be, it is `lasting`: then the row of
    `kind` can't be deleted at all.
    """

    kind: str
    table: sa.TableClause
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    of: str | None
    clears: tuple[str, ...] = ()
    lasting: bool = False


def referring(connection: sa.Connection, kinds: MappedKinds) -> list[Referring]:
    """The foreign keys that point at the tables of the kinds. The host's models may know nothing
    of some of them: the database does."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name
    names = {
        (mapped.table.schema or default, mapped.table.name): name for name, mapped in kinds.items()
    }
    found: list[Referring] = []
    database = database_of(connection)
    for schema in database.schemas_that_refer(connection, [each.table for each in kinds.values()]):
        keys: Any = inspector.get_multi_foreign_keys(schema=schema)
        for (of_schema, table), constraints in keys.items():
            of = names.get((of_schema or default, table))
            for each in constraints:
                name = names.get((each["referred_schema"] or default, each["referred_table"]))
                if name is None:
                    continue
                columns = tuple(each["constrained_columns"])
                # SQLite's short form of a foreign key names the primary key by naming nothing.
                referred = tuple(each["referred_columns"]) or tuple(
                    column.name for column in kinds[name].table.primary_key
                )
                # Also what tells the rows of a table of ours apart.
                identity = () if of is None else [column.name for column in kinds[of].identity]
                clears: tuple[str, ...] = ()
                lasting = False
                if of is not None and _in_the_way(
                    name, of, each["options"], each_row=database.checks_each_row
                ):
                    described = inspector.get_columns(table, schema=of_schema)
                    nullable = {column["name"] for column in described if column["nullable"]}
                    clears = _cleared(columns, nullable - {*identity}, each["options"])
                    lasting = not clears
                found.append(
                    Referring(
                        kind=name,
                        table=sa.table(
                            table,
                            *map(sa.column, sorted({*columns, *identity})),
                            schema=of_schema,
                        ),
                        columns=columns,
                        referred=referred,
                        of=of,
                        clears=clears,
                        lasting=lasting,
                    )
                )
    return found


def _in_the_way(kind: str, of: str, options: dict[str, Any], *, each_row: bool) -> bool:
    """Whether a key of `of` is broken when the rows of `kind` are deleted, though those of `of`
    are deleted by the end."""
    action = options.get("ondelete") or "NO ACTION"
    restricts = action == "RESTRICT" or (each_row and action == "NO ACTION")
    if ORDER.index(of) <= ORDER.index(kind):
        # Gone by then; and within one statement only RESTRICT is looked at before its end.
        return of == kind and restricts
    return restricts or options.get("initially") != "DEFERRED"


def _cleared(
    columns: tuple[str, ...], nullable: Collection[str], options: dict[str, Any]
) -> tuple[str, ...]:
    """The columns to set to null so that the key refers to nothing."""
    cleared = tuple(column for column in columns if column in nullable)
    return () if options.get("match") == "FULL" and cleared != columns else cleared
