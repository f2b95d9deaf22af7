"""Engines of each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.databases import NewDatabase
from tests.support.registries import (
    Base,
    NewEngine,
    Owner,
    Package,
    Release,
    User,
    engine_of,
    mariadb_engine,
    postgresql_engine,
)


@pytest.fixture
def new_engine(tmp_path: Path, database: NewDatabase) -> Iterator[NewEngine]:
    """Makes an engine of a new database that has the tables of a metadata."""
    engines: list[sa.Engine] = []

    def make(metadata: sa.MetaData, *pragmas: str) -> sa.Engine:
        uri = database()
        if uri is None:
            engines.append(engine_of(tmp_path / f"{len(engines)}.db", metadata, *pragmas))
        elif uri.startswith("postgresql"):
            engines.append(postgresql_engine(uri, metadata))
        else:
            engines.append(mariadb_engine(uri, metadata))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(new_engine: NewEngine) -> sa.Engine:
    """One of a host as most are, with a few rows."""
    engine = new_engine(Base.metadata)
    with Session(engine) as session, session.begin():
        session.add_all(
            [
                User(username="ann", email="ann@x", token="t1"),
                User(username="bob", email="bob@x", token="t2", totp_enabled=True, totp_secret="S"),
                Package(name="jason", meta={"a": 1}),
                Package(name="cached", source="cached"),
            ]
        )
        session.flush()
        session.add_all(
            [
                Release(package_id=1, version="1.0.0", retired=False),
                Release(package_id=2, version="0.1.0"),
                Owner(package_id=1, user_id=1),
            ]
        )
    return engine
