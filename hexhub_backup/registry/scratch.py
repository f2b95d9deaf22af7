"""A scratch registry: copies of the host's tables, empty, in which a restore is tried.

The host's own rows are read at most. What a restore does to the copies is what it would do to an
empty registry, by the same maps and with the same rules of the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.databases.errors import translated
from hexhub_backup.databases.scratch.base import ScratchPlace, blueprint
from hexhub_backup.databases.scratch.known import scratching_of
from hexhub_backup.registry.mapping.mapped_kinds import MappedKinds
from hexhub_backup.registry.mapping.moved import moved, tables_read, written


@dataclass(frozen=True)
class ScratchTables:
    """The copies: what reaches them, by their own names and by those that the host's models have,
    the host's maps on them, and what could not be copied."""

    engine: sa.Engine
    engine_of_models: sa.Engine
    kinds: MappedKinds
    not_copied: list[str]


@contextmanager
def scratch_tables(
    live: sa.Engine, kinds: MappedKinds, place: ScratchPlace
) -> Iterator[ScratchTables]:
    """Make the copies, and remove them. Raises RehearsalError where this database can't have them,
    DatabaseError."""
    scratching = scratching_of(live)
    scratching.refuse_unable(live, place)
    own = {mapped.table: written(mapped) for mapped in kinds.values()}
    others = [table for table in tables_read(kinds) if table not in own]
    with (
        connected(live) as connection,
        transaction(connection),
        translated("The tables can not be looked at"),
    ):
        wanted = blueprint(connection, own, others)
    try:
        with scratching.engine(live, place) as engine:
            left = scratching.make(live, engine, place, wanted)
            schema = scratching.schema(place)
            if schema is None:
                yield ScratchTables(engine, engine, kinds, left)
                return
            translated_to = dict.fromkeys((None, *wanted.tables.values()), schema)
            of_models = engine.execution_options(schema_translate_map=translated_to)
            yield ScratchTables(engine, of_models, moved(kinds, schema), left)
    finally:
        scratching.remove(live, place)
