"""The versions of our tables, and the way from each to the next.

Version 1 is that of 0.1.0, which did not write down a version. A migration is frozen once it is
released: it says in SQL what it changes, and knows nothing of `tables`, which are the newest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from hexhub_backup.databases.types import LONG_TEXT, MOMENT, TABLE_OPTIONS
from hexhub_backup.errors import VersionError
from hexhub_backup.history.tables import metadata, operations, version


def upgrade(connection: sa.Connection) -> None:
    """Make our tables, or bring them to the version of this release, in the transaction of a
    connection. Idempotent. Call it from a migration of yours: `upgrade(op.get_bind())`.

    Raises VersionError where the tables are those of a newer release.
    """
    found = found_version(connection)
    if found is not None:
        refuse_newer(found)
        for number in range(found + 1, VERSION + 1):
            _MIGRATIONS[number](connection)
    metadata.create_all(connection)
    if found != VERSION:
        connection.execute(sa.delete(version))
        connection.execute(sa.insert(version).values(version=VERSION))


def found_version(connection: sa.Connection) -> int | None:
    """The version of the tables that are there; None where there are none."""
    inspector = sa.inspect(connection)
    if inspector.has_table(version.name):
        return connection.execute(sa.select(version.c.version)).scalar()
    return 1 if inspector.has_table(operations.name) else None


def refuse_newer(found: int) -> None:
    """Raises VersionError for a version that this release does not know."""
    if found > VERSION:
        raise VersionError(
            f"The tables of hexhub_backup have version {found}, and this release knows them up to "
            f"version {VERSION}: a newer release has upgraded them. Install that one again, or "
            "restore the database from before the upgrade."
        )


def refuse_older(found: int) -> None:
    """Raises VersionError for a version that has to be upgraded first."""
    if found < VERSION:
        raise VersionError(
            f"The tables of hexhub_backup have version {found}, and this release needs version "
            f"{VERSION}: run 'flask backups init-db' or your migration."
        )


_OPERATIONS_1 = sa.table(
    "hexhub_backup_operations",
    sa.column("id", sa.String),
    sa.column("options", sa.JSON),
    sa.column("follows_id", sa.String),
)
# What SQLite, which alters no column, needs: the table again, with the rows of the old one.
_REBUILD_2 = (
    "ALTER TABLE hexhub_backup_operations RENAME TO hexhub_backup_operations_1",
    "DROP INDEX ix_hexhub_backup_operations_started_at",
    """
CREATE TABLE hexhub_backup_operations (
  id VARCHAR(40) NOT NULL,
  verb VARCHAR(20) NOT NULL,
  state VARCHAR(20) NOT NULL,
  reason TEXT,
  code VARCHAR(40),
  actor TEXT NOT NULL,
  address TEXT,
  backup_id VARCHAR(40),
  follows_id VARCHAR(40),
  options JSON NOT NULL,
  queued_at DATETIME NOT NULL,
  started_at DATETIME,
  finished_at DATETIME,
  duration_seconds FLOAT,
  decided_at DATETIME,
  outcome JSON,
  bound BOOLEAN NOT NULL,
  exclusive BOOLEAN,
  run_token VARCHAR(32),
  PRIMARY KEY (id)
)
""",
    """
INSERT INTO hexhub_backup_operations (
  id, verb, state, reason, code, actor, address, backup_id, options, queued_at, started_at,
  finished_at, duration_seconds, decided_at, outcome, bound
)
SELECT
  id, verb, state, reason, code, actor, address, backup_id, options, started_at, started_at,
  finished_at, duration_seconds, decided_at, outcome, 1
FROM hexhub_backup_operations_1
""",
    "DROP TABLE hexhub_backup_operations_1",
)
# Elsewhere the table stays the same one, with the rights that a host has given on it.
_ALTER_2 = (
    "DROP INDEX ix_hexhub_backup_operations_started_at",
    """
ALTER TABLE hexhub_backup_operations
  ADD COLUMN follows_id VARCHAR(40),
  ADD COLUMN queued_at TIMESTAMP,
  ADD COLUMN bound BOOLEAN NOT NULL DEFAULT TRUE,
  ADD COLUMN exclusive BOOLEAN,
  ADD COLUMN run_token VARCHAR(32)
""",
    "UPDATE hexhub_backup_operations SET queued_at = started_at",
    """
ALTER TABLE hexhub_backup_operations
  ALTER COLUMN queued_at SET NOT NULL,
  ALTER COLUMN bound DROP DEFAULT,
  ALTER COLUMN started_at DROP NOT NULL
""",
)
_INDEXES_2 = (
    "CREATE INDEX ix_hexhub_backup_operations_state ON hexhub_backup_operations (state)",
    "CREATE INDEX ix_hexhub_backup_operations_follows_id ON hexhub_backup_operations (follows_id)",
    "CREATE INDEX ix_hexhub_backup_operations_queued_at ON hexhub_backup_operations (queued_at)",
    "CREATE UNIQUE INDEX ix_hexhub_backup_operations_exclusive"
    " ON hexhub_backup_operations (exclusive)",
)
#: Options of 0.1.0 that name the operation which another one goes on from.
_FOLLOWED_1 = ("plan", "operation", "before")


def _to_2(connection: sa.Connection) -> None:
    """An operation is an order first: it waits, and is taken by whoever runs it."""
    # 0.1.0 had SQLite and PostgreSQL.
    statements = _ALTER_2 if connection.dialect.supports_alter else _REBUILD_2
    for statement in (*statements, *_INDEXES_2):
        connection.exec_driver_sql(statement)
    rows = connection.execute(sa.select(_OPERATIONS_1.c.id, _OPERATIONS_1.c.options)).all()
    for row in rows:
        follows = next(filter(None, map(row.options.get, _FOLLOWED_1)), None)
        if follows is not None:
            connection.execute(
                sa.update(_OPERATIONS_1)
                .where(_OPERATIONS_1.c.id == row.id)
                .values(follows_id=follows)
            )


_REBUILD_3 = (
    "ALTER TABLE hexhub_backup_backups RENAME TO hexhub_backup_backups_2",
    "DROP INDEX ix_hexhub_backup_backups_created_at",
    """
CREATE TABLE hexhub_backup_backups (
  id VARCHAR(40) NOT NULL,
  state VARCHAR(20) NOT NULL,
  reason TEXT,
  created_at DATETIME NOT NULL,
  created_by TEXT NOT NULL,
  duration_seconds FLOAT,
  size_bytes BIGINT,
  manifest JSON,
  warning_count INTEGER NOT NULL,
  kept BOOLEAN NOT NULL,
  adopted_at DATETIME,
  verified_at DATETIME,
  intact BOOLEAN,
  PRIMARY KEY (id)
)
""",
    """
INSERT INTO hexhub_backup_backups (
  id, state, reason, created_at, created_by, duration_seconds, size_bytes, manifest,
  warning_count, kept, adopted_at, verified_at, intact
)
SELECT
  id, state, reason, created_at, created_by, duration_seconds, size_bytes, manifest,
  warning_count, kept, CASE WHEN adopted THEN CURRENT_TIMESTAMP END, verified_at, intact
FROM hexhub_backup_backups_2
""",
    "DROP TABLE hexhub_backup_backups_2",
    "CREATE INDEX ix_hexhub_backup_backups_created_at ON hexhub_backup_backups (created_at)",
)
_ALTER_3 = (
    "ALTER TABLE hexhub_backup_backups ADD COLUMN adopted_at {moment}",
    "UPDATE hexhub_backup_backups SET adopted_at = '{now}' WHERE adopted",
    "ALTER TABLE hexhub_backup_backups DROP COLUMN adopted, DROP COLUMN expires_at",
)


def _to_3(connection: sa.Connection) -> None:
    """What holds a backup is worked out by the rules of the day: no time is written down when it
    is made. The age of one that was adopted begins anew, as nobody knows when that was."""
    names = {
        "moment": MOMENT.compile(connection.dialect),
        "now": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}",
    }
    for statement in _ALTER_3 if connection.dialect.supports_alter else _REBUILD_3:
        connection.exec_driver_sql(statement.format_map(names))


_ALTER_4 = (
    "ALTER TABLE hexhub_backup_schedule ADD COLUMN spec TEXT",
    "ALTER TABLE hexhub_backup_schedule ADD COLUMN try_at {moment}",
    "ALTER TABLE hexhub_backup_schedule ADD COLUMN operation_id VARCHAR(40)",
)


def _to_4(connection: sa.Connection) -> None:
    """More is done by the clock than the prune, and by one process of many."""
    moment = MOMENT.compile(connection.dialect)
    for statement in _ALTER_4:
        connection.exec_driver_sql(statement.format(moment=moment))


def _to_5(_: sa.Connection) -> None:
    """The alerts that are active have a table, which `upgrade` makes with all that are missing."""


_COPIES_6 = sa.Table(
    "hexhub_backup_copies",
    sa.MetaData(),
    sa.Column("backup_id", sa.String(40), primary_key=True),
    sa.Column("place", sa.String(30), primary_key=True),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", LONG_TEXT),
    sa.Column("operation_id", sa.String(40)),
    sa.Column("ordered_at", MOMENT, nullable=False),
    sa.Column("due_at", MOMENT, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("file", sa.String(80)),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("sha256", sa.String(64)),
    sa.Column("archive_sha256", sa.String(64)),
    sa.Column("recipients", sa.JSON, nullable=False),
    sa.Column("copied_at", MOMENT),
    sa.Column("locked_until", MOMENT),
    sa.Column("verified_at", MOMENT),
    sa.Column("intact", sa.Boolean),
    **TABLE_OPTIONS,
)


def _to_6(connection: sa.Connection) -> None:
    """Backups have copies elsewhere."""
    _COPIES_6.create(connection, checkfirst=True)


def _to_7(_: sa.Connection) -> None:
    """The keys that were proved have a table, which `upgrade` makes with all that are missing."""


def _to_8(connection: sa.Connection) -> None:
    """Why a copy is to go is told when it has gone, which may be long after."""
    connection.exec_driver_sql(
        "ALTER TABLE hexhub_backup_copies ADD COLUMN delete_reason VARCHAR(10)"
    )


_ALTER_9 = (
    "ALTER TABLE hexhub_backup_alerts ADD COLUMN event VARCHAR(20)",
    "ALTER TABLE hexhub_backup_alerts ADD COLUMN attempts INTEGER DEFAULT 0 NOT NULL",
)


def _to_9(connection: sa.Connection) -> None:
    """An alert that got out by no channel waits for its next attempt."""
    inspector = sa.inspect(connection)
    # Before version 5 there was no such table, and `upgrade` makes that of this release.
    if not inspector.has_table("hexhub_backup_alerts"):
        return
    if "event" not in {each["name"] for each in inspector.get_columns("hexhub_backup_alerts")}:
        for statement in _ALTER_9:
            connection.exec_driver_sql(statement)


def _to_10(connection: sa.Connection) -> None:
    """A backup that was found may be of another registry. What stands for this one has a table,
    which `upgrade` makes with all that are missing."""
    connection.exec_driver_sql("ALTER TABLE hexhub_backup_backups ADD COLUMN origin VARCHAR(32)")


def _to_11(_: sa.Connection) -> None:
    """What was found out about destinations has a table, which `upgrade` makes."""


def _to_12(connection: sa.Connection) -> None:
    """Of a prune that was killed, a file that is gone is not taken for one on a disk that is not
    mounted."""
    connection.exec_driver_sql("ALTER TABLE hexhub_backup_backups ADD COLUMN deleting BOOLEAN")


def _to_13(connection: sa.Connection) -> None:
    """Processes on several machines may share nothing but the database. Its other tables are made
    by `upgrade`."""
    connection.exec_driver_sql(
        "ALTER TABLE hexhub_backup_operations ADD COLUMN stop_wished BOOLEAN"
    )


_COLUMNS_14: dict[str, sa.types.TypeEngine[Any]] = {
    "sha256": sa.String(64),
    "since": sa.JSON(),
    "changed_files": sa.Integer(),
    "acknowledged_at": MOMENT,
    "acknowledged_by": sa.Text(),
    "acknowledged_note": LONG_TEXT,
    "label": sa.String(80),
    "note": LONG_TEXT,
}


def _to_14(connection: sa.Connection) -> None:
    """A backup says what has changed since the one before it, and people say what it is."""
    for name, type_ in _COLUMNS_14.items():
        column = f"{name} {type_.compile(connection.dialect)}"
        connection.exec_driver_sql(f"ALTER TABLE hexhub_backup_backups ADD COLUMN {column}")


def _columns_15(table: str, *names: str) -> sa.ColumnCollection[str, sa.Column[Any]]:
    return sa.Table(table, sa.MetaData(), *(sa.Column(name, sa.String) for name in names)).columns


_OPERATIONS_15 = _columns_15("hexhub_backup_operations", "id", "verb", "queued_at")
_BACKUPS_15 = _columns_15(
    "hexhub_backup_backups", "id", "created_at", "intact", "rehearsed_at", "changed_files"
)
_DROPPED_15 = (
    sa.Index("ix_hexhub_backup_operations_queued_at", _OPERATIONS_15.queued_at),
    sa.Index("ix_hexhub_backup_backups_created_at", _BACKUPS_15.created_at),
)
#: What pages ask for, by which each is found without reading all.
_ADDED_15 = (
    sa.Index("ix_hexhub_backup_operations_verb", _OPERATIONS_15.verb),
    sa.Index("ix_hexhub_backup_operations_listed", _OPERATIONS_15.queued_at, _OPERATIONS_15.id),
    sa.Index("ix_hexhub_backup_backups_intact", _BACKUPS_15.intact),
    sa.Index("ix_hexhub_backup_backups_rehearsed_at", _BACKUPS_15.rehearsed_at),
    sa.Index("ix_hexhub_backup_backups_changed_files", _BACKUPS_15.changed_files),
    sa.Index("ix_hexhub_backup_backups_listed", _BACKUPS_15.created_at, _BACKUPS_15.id),
)


def _to_15(connection: sa.Connection) -> None:
    """A restore of a backup may have been tried."""
    for name, type_ in (("rehearsed_at", MOMENT), ("restorable", sa.Boolean())):
        column = f"{name} {type_.compile(connection.dialect)}"
        connection.exec_driver_sql(f"ALTER TABLE hexhub_backup_backups ADD COLUMN {column}")
    for index in _DROPPED_15:
        index.drop(connection)
    for index in _ADDED_15:
        index.create(connection, checkfirst=True)


_MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {
    2: _to_2,
    3: _to_3,
    4: _to_4,
    5: _to_5,
    6: _to_6,
    7: _to_7,
    8: _to_8,
    9: _to_9,
    10: _to_10,
    11: _to_11,
    12: _to_12,
    13: _to_13,
    14: _to_14,
    15: _to_15,
}
#: The version of the tables of this release.
VERSION = 15
