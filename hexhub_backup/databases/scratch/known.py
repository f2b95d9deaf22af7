"""How each database makes a scratch copy, by the names of their dialects."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from hexhub_backup.databases.scratch.base import Scratching
from hexhub_backup.databases.scratch.mariadb import MariaDBScratch
from hexhub_backup.databases.scratch.postgresql import PostgreSQLScratch
from hexhub_backup.databases.scratch.sqlite import SQLiteScratch

_MARIADB = MariaDBScratch()
_SCRATCHING: Mapping[str, Scratching] = {
    "sqlite": SQLiteScratch(),
    "postgresql": PostgreSQLScratch(),
    "mariadb": _MARIADB,
    "mysql": _MARIADB,
}


def scratching_of(engine: sa.Engine) -> Scratching:
    """How the database of an engine makes one; each that `databases.known` has does."""
    return _SCRATCHING[engine.dialect.name]
