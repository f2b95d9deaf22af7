"""How each database makes a scratch copy."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from hexhub_backup.databases.known import database_of
from hexhub_backup.databases.mariadb import MariaDB
from hexhub_backup.databases.postgresql import PostgreSQL
from hexhub_backup.databases.scratch.base import Scratching
from hexhub_backup.databases.scratch.mariadb import MariaDBScratch
from hexhub_backup.databases.scratch.postgresql import PostgreSQLScratch
from hexhub_backup.databases.scratch.sqlite import SQLiteScratch
from hexhub_backup.databases.sqlite import SQLite

_SCRATCHING: Mapping[str, Scratching] = {
    SQLite.name: SQLiteScratch(),
    PostgreSQL.name: PostgreSQLScratch(),
    MariaDB.name: MariaDBScratch(),
}


def scratching_of(engine: sa.Engine) -> Scratching:
    """How the database of an engine makes one; each that `databases.known` has does."""
    return _SCRATCHING[database_of(engine).name]
