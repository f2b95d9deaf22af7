"""Which engines a registry can use: the databases that are known, with connections of their own."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from hexhub_backup.errors import MappingError


def refuse_unusable(engine: sa.Engine) -> None:
    """Raise MappingError for an engine with which an operation can not work."""
    dialect = engine.dialect
    if dialect.name not in ("sqlite", "postgresql"):
        raise MappingError(
            f"The registry's database is one of {dialect.name}, which can not be backed up: "
            "SQLite and PostgreSQL can"
        )
    # 3.33 is the first with UPDATE … FROM.
    version = getattr(dialect.dbapi, "sqlite_version_info", (3, 33))
    if dialect.name == "sqlite" and version < (3, 33):
        raise MappingError(
            f"SQLite {'.'.join(map(str, version))} is too old to restore into: use 3.33 or newer"
        )
    if isinstance(engine.pool, StaticPool) or _is_in_memory(engine):
        raise MappingError(
            "The registry's database is in memory, or its engine has one connection for all "
            "threads (StaticPool): what a request rolls back would take a running restore with "
            "it, and what a dead process left could not be found again. Use a database in a "
            "file, in tests a temporary one"
        )


def _is_in_memory(engine: sa.Engine) -> bool:
    url = str(engine.url)
    named = engine.url.database and not (":memory:" in url or "mode=memory" in url)
    if engine.dialect.name != "sqlite" or named:
        return False
    # The host may have given a function that connects, whatever the URL says.
    with engine.connect() as connection:
        files = connection.exec_driver_sql("PRAGMA database_list").all()
    return not any(file for _, name, file in files if name == "main")
