"""Our tables, in the host's database with a MetaData of their own."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from hexhub_backup.databases.types import LONG_TEXT, TABLE_OPTIONS, UTCDateTime

#: Only our tables: hand it to Alembic, or keep them out by the prefix.
metadata = MetaData()

TABLE_PREFIX = "hexhub_backup_"


operations = Table(
    f"{TABLE_PREFIX}operations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("verb", String(20), nullable=False, index=True),
    Column("state", String(20), nullable=False, index=True),
    Column("reason", LONG_TEXT),
    Column("code", String(40)),
    Column("actor", Text, nullable=False),
    Column("address", Text),
    Column("backup_id", String(40)),
    # The operation that this one goes on from: a restore its plan, an undo its restore.
    Column("follows_id", String(40), index=True),
    Column("options", JSON, nullable=False),
    Column("queued_at", UTCDateTime, nullable=False),
    Column("started_at", UTCDateTime),
    Column("finished_at", UTCDateTime),
    Column("duration_seconds", Float),
    # Written in the deciding transaction: the outcome, from when on it is true.
    Column("decided_at", UTCDateTime),
    Column("outcome", JSON(none_as_null=True)),
    # Whether nobody but the process that took the order will run it.
    Column("bound", Boolean, nullable=False),
    # True as long as an exclusive operation is queued or running, else null: the database lets
    # one such row in at a time.
    Column("exclusive", Boolean, index=True, unique=True),
    # Whether somebody wishes that it ends; null where the coordination has another place for that.
    Column("stop_wished", Boolean),
    # A random text, written by whoever runs the operation: nobody else may decide or end it.
    Column("run_token", String(32)),
    # As they are listed: any page is found without the rows before it.
    Index(f"ix_{TABLE_PREFIX}operations_listed", "queued_at", "id"),
    **TABLE_OPTIONS,
)

#: The columns that an Operation has; the others are for the database's own guards.
OPERATION = tuple(
    column
    for column in operations.c
    if column.name not in ("exclusive", "run_token", "stop_wished")
)

#: The kept events, where the coordination has no directory for them.
events = Table(
    f"{TABLE_PREFIX}events",
    metadata,
    Column("operation_id", String(40), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("type", String(20), nullable=False),
    Column("event", LONG_TEXT, nullable=False),
    **TABLE_OPTIONS,
)

#: One row: how bad it was when somebody last looked, `warning` or `critical`; null for fine.
alarm = Table(
    f"{TABLE_PREFIX}alarm",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("level", String(20)),
    **TABLE_OPTIONS,
)

backups = Table(
    f"{TABLE_PREFIX}backups",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("state", String(20), nullable=False),
    Column("reason", LONG_TEXT),
    Column("created_at", UTCDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("duration_seconds", Float),
    Column("size_bytes", BigInteger),
    # Of the archive; null where it was not made here.
    Column("sha256", String(64)),
    Column("manifest", JSON(none_as_null=True)),
    Column("warning_count", Integer, nullable=False, default=0),
    Column("kept", Boolean, nullable=False, default=False),
    # When it was found in the directory, or let go since; null where it was made here.
    Column("adopted_at", UTCDateTime),
    # The instance that made it, where that is another one, or `unknown`; null where it is ours.
    Column("origin", String(32)),
    Column("verified_at", UTCDateTime),
    Column("intact", Boolean, index=True),
    # When a restore of it was last tried, and whether all of it came back.
    Column("rehearsed_at", UTCDateTime, index=True),
    Column("restorable", Boolean),
    # True where its file is being deleted, or was by a process that died over it.
    Column("deleting", Boolean),
    # What has changed since the newest backup before it, and how many package files did.
    Column("since", JSON(none_as_null=True)),
    Column("changed_files", Integer, index=True),
    # Who knows why those have changed.
    Column("acknowledged_at", UTCDateTime),
    Column("acknowledged_by", Text),
    Column("acknowledged_note", LONG_TEXT),
    # What people call it, and say of it.
    Column("label", String(80)),
    Column("note", LONG_TEXT),
    # As they are listed, like operations.
    Index(f"ix_{TABLE_PREFIX}backups_listed", "created_at", "id"),
    **TABLE_OPTIONS,
)

copies = Table(
    f"{TABLE_PREFIX}copies",
    metadata,
    Column("backup_id", String(40), primary_key=True),
    Column("place", String(30), primary_key=True),
    Column("state", String(20), nullable=False),
    Column("reason", LONG_TEXT),
    # The copy that has claimed it, or was the last to.
    Column("operation_id", String(40)),
    Column("ordered_at", UTCDateTime, nullable=False),
    # When the next attempt is due, while it waits.
    Column("due_at", UTCDateTime, index=True),
    Column("attempts", Integer, nullable=False),
    # The file at the destination, its bytes, and those of the archive where that is another one.
    Column("file", String(80)),
    Column("size_bytes", BigInteger),
    Column("sha256", String(64)),
    Column("archive_sha256", String(64)),
    Column("recipients", JSON, nullable=False),
    Column("copied_at", UTCDateTime),
    Column("locked_until", UTCDateTime),
    Column("verified_at", UTCDateTime),
    Column("intact", Boolean),
    # Why it is to go, while it is: `manual` or `expired`.
    Column("delete_reason", String(10)),
    **TABLE_OPTIONS,
)

journal = Table(
    f"{TABLE_PREFIX}journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("operation_id", String(40), nullable=False, index=True),
    Column("file_type", String(10), nullable=False),
    Column("package", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("action", String(10), nullable=False),
    # The stored file as it was when it was decided: its tag, and after a space its SHA-256. And the
    # release, null where it is gone.
    Column("tag", Text, nullable=False),
    Column("record", JSON(none_as_null=True)),
    **TABLE_OPTIONS,
)

audit_events = Table(
    f"{TABLE_PREFIX}audit_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event", String(40), nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", UTCDateTime, nullable=False),
    Column("address", Text),
    Column("details", JSON, nullable=False),
    **TABLE_OPTIONS,
)

schedule = Table(
    f"{TABLE_PREFIX}schedule",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("due_at", UTCDateTime, nullable=False),
    # What the time was worked out by; null where that was another release.
    Column("spec", Text),
    # When it is looked at next, where that is later than it is due, and the operation of the run.
    Column("try_at", UTCDateTime),
    Column("operation_id", String(40)),
    **TABLE_OPTIONS,
)

#: The problems that somebody was told of, and that are not over.
alerts = Table(
    f"{TABLE_PREFIX}alerts",
    metadata,
    Column("code", String(20), primary_key=True),
    Column("text", LONG_TEXT, nullable=False),
    Column("began_at", UTCDateTime, nullable=False),
    Column("tell_at", UTCDateTime, nullable=False),
    Column("event", String(20)),
    Column("attempts", Integer, nullable=False),
    **TABLE_OPTIONS,
)

#: The keys of which somebody has proved that they open what is encrypted to them.
keys = Table(
    f"{TABLE_PREFIX}keys",
    metadata,
    Column("fingerprint", String(60), primary_key=True),
    Column("proved_at", UTCDateTime, nullable=False),
    Column("proved_by", Text, nullable=False),
    **TABLE_OPTIONS,
)

#: One row: what stands for this registry beside its copies, and whether it has that from another
#: database, which was lost.
instance = Table(
    f"{TABLE_PREFIX}instance",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False),
    Column("taken_over", Boolean, nullable=False),
    **TABLE_OPTIONS,
)

#: What was found out about each destination, at the place where it was then.
places = Table(
    f"{TABLE_PREFIX}places",
    metadata,
    Column("name", String(30), primary_key=True),
    Column("location", Text, nullable=False),
    Column("notes", JSON, nullable=False),
    Column("checked_at", UTCDateTime),
    Column("steps", JSON, nullable=False),
    **TABLE_OPTIONS,
)

#: One row: which version of our tables this is. 0.1.0 had none.
version = Table(
    f"{TABLE_PREFIX}version",
    metadata,
    Column("version", Integer, primary_key=True),
    **TABLE_OPTIONS,
)
