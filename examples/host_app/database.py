"""The database: how it is opened, brought up to date by migrations, and tidied.

`migrations/versions` has one file for each change of `models.py`, in the order of their numbers.
`flask --app examples.host_app db migrate --rev-id 0005 -m "…"` begins a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from flask import Flask
from sqlalchemy import ColumnElement, Connection, delete, event, inspect, select, text, update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import InstrumentedAttribute

from examples.host_app.models import db

#: Databases limit how many values a statement may have.
_BATCH = 500
_MIGRATIONS = Path(__file__).parent / "migrations"


class Commands(click.Command):
    """`flask db` of Flask-Migrate. It is imported for those who ask for it: Alembic is large."""

    def __init__(self, app: Flask) -> None:
        super().__init__("db", help="Perform database migrations.")
        self._app = app

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        from flask_migrate.cli import db as commands  # type: ignore[import-untyped]

        _set_up_migrations(self._app)
        context: click.Context = commands.make_context(*args, **options)
        return context


def bring_up_to_date(app: Flask) -> None:
    """Run the migrations that the database has not seen, in the context of the app. A new one gets
    all of its tables by them."""
    if db.engine.dialect.name == "sqlite":
        event.listen(db.engine, "connect", _set_pragmas)
    known = sorted(file.name[:4] for file in _MIGRATIONS.glob("versions/[0-9]*.py"))
    with db.engine.connect() as connection:
        current = _revision(connection)
        older = _revision_without_migrations(connection) if current is None else None
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise SystemExit(
            f"The database is of a newer version of this registry (revision {current}, and the "
            f"newest one here is {known[-1]}). Start that version, or restore a backup into an "
            "empty database."
        )
    from flask_migrate import stamp, upgrade  # type: ignore[import-untyped]

    _set_up_migrations(app)
    if older is not None:
        stamp(revision=older)
    upgrade()


def delete_by_id(ids: InstrumentedAttribute[int], condition: ColumnElement[bool]) -> None:
    """Delete rows by their numbers, in a transaction of its own and at most so many: MariaDB would
    lock what is between those that it looks through, and have others wait for each other."""
    with db.engine.connect() as connection:
        rows = connection.scalars(select(ids).where(condition).limit(_BATCH)).all()
    if rows:
        with db.engine.begin() as connection:
            connection.execute(delete(ids.class_).where(ids.in_(rows)))


def update_by_id(
    ids: InstrumentedAttribute[int], condition: ColumnElement[bool], values: Mapping[str, object]
) -> int:
    """Change the rows that meet a condition, and still do when they are locked; return how many.

    They are locked by their numbers, in a transaction of its own. InnoDB lets those that wait for
    an entry of a unique index, and the one that is about to replace that entry, wait for each
    other. And it refuses to lock what has changed since the transaction has read something.
    """
    with db.engine.connect() as connection:
        found = ids.in_(connection.scalars(select(ids).where(condition)).all())
    with db.engine.begin() as connection:
        connection.execute(select(ids).where(found).order_by(ids).with_for_update())
        changed = connection.execute(update(ids.class_).where(found, condition).values(values))
    return changed.rowcount


def _set_up_migrations(app: Flask) -> None:
    from flask_migrate import Migrate

    Migrate(app, db, directory=_MIGRATIONS)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _revision_without_migrations(connection: Connection) -> str | None:
    """What a database is at whose tables were made before there were migrations."""
    inspector = inspect(connection)
    if not inspector.has_table("users"):
        return None
    columns = {each["name"] for each in inspector.get_columns("users")}
    return "0002" if "session_token" in columns else "0001"


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
