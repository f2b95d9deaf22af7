"""Engines of both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import NewDatabase
from tests.registry.hosts import NewEngine, engine_of, postgresql_engine


@pytest.fixture
def new_engine(tmp_path: Path, database: NewDatabase) -> Iterator[NewEngine]:
    """Makes an engine of a new database that has the tables of a metadata."""
    engines: list[sa.Engine] = []

    def make(metadata: sa.MetaData, *pragmas: str) -> sa.Engine:
        uri = database()
        if uri is None:
            engines.append(engine_of(tmp_path / f"{len(engines)}.db", metadata, *pragmas))
        else:
            engines.append(postgresql_engine(uri, metadata))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()
