"""What Alembic runs for `database.bring_up_to_date`, and for each command of `flask db`."""

from __future__ import annotations

from typing import Any

from alembic import context

from examples.host_app.models import db


def _is_of_the_registry(name: str | None, kind: str, _parents: Any) -> bool:
    """The tables of hexhub_backup are in the same database, and are its own."""
    return kind != "table" or not (name or "").startswith("hexhub_backup_")


with db.engine.connect() as connection:
    transactional = None
    if connection.dialect.name == "sqlite":
        # Its driver begins no transaction for a change of tables, though SQLite has them.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        transactional = True
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        include_name=_is_of_the_registry,
        transactional_ddl=transactional,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
