"""The databases that an operation can work with, by the names of their dialects."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from hexhub_backup.databases.base import Database
from hexhub_backup.databases.mariadb import MariaDB
from hexhub_backup.databases.postgresql import PostgreSQL
from hexhub_backup.databases.sqlite import SQLite
from hexhub_backup.errors import MappingError

_MARIADB = MariaDB()
DATABASES: Mapping[str, Database] = {
    "sqlite": SQLite(),
    "postgresql": PostgreSQL(),
    # By either name SQLAlchemy speaks to both.
    "mariadb": _MARIADB,
    "mysql": _MARIADB,
}


def database_of(bound: sa.Engine | sa.Connection) -> Database:
    """Which one an engine or a connection is of. Raises MappingError for any other."""
    name = bound.dialect.name
    if name not in DATABASES:
        *others, last = dict.fromkeys(each.name for each in DATABASES.values())
        raise MappingError(
            f"The registry's database is one of {name}, which can not be backed up: "
            f"{', '.join(others)} and {last} can"
        )
    return DATABASES[name]
