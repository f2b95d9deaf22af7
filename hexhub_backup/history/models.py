"""Our tables, in the host's database with a MetaData of their own, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect

#: Only our tables: hand it to Alembic, or keep them out by the prefix.
metadata = MetaData()

TABLE_PREFIX = "hexhub_backup_"


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept as naive UTC: one rule for every database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=timezone.utc)


operations = Table(
    f"{TABLE_PREFIX}operations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("verb", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text),
    Column("code", String(40)),
    Column("actor", Text, nullable=False),
    Column("address", Text),
    Column("backup_id", String(40)),
    Column("options", JSON, nullable=False),
    Column("started_at", UTCDateTime, nullable=False, index=True),
    Column("finished_at", UTCDateTime),
    Column("duration_seconds", Float),
    # Written in the deciding transaction: the outcome, from when on it is true.
    Column("decided_at", UTCDateTime),
    Column("outcome", JSON(none_as_null=True)),
)

backups = Table(
    f"{TABLE_PREFIX}backups",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text),
    Column("created_at", UTCDateTime, nullable=False, index=True),
    Column("created_by", Text, nullable=False),
    Column("duration_seconds", Float),
    Column("size_bytes", BigInteger),
    Column("manifest", JSON(none_as_null=True)),
    Column("warning_count", Integer, nullable=False, default=0),
    Column("expires_at", UTCDateTime),
    Column("kept", Boolean, nullable=False, default=False),
    Column("adopted", Boolean, nullable=False, default=False),
    Column("verified_at", UTCDateTime),
    Column("intact", Boolean),
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
)

schedule = Table(
    f"{TABLE_PREFIX}schedule",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("due_at", UTCDateTime, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """One run of a verb. `state` is `running`, `completed`, `failed`, `cancelled` or
    `interrupted`."""

    id: str
    verb: str
    state: str
    reason: str | None = None
    code: str | None = None
    actor: str
    address: str | None = None
    backup_id: str | None = None
    options: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Operation(_Operation):
    """An operation with its `outcome`: what the verb returned."""

    outcome: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ListedOperation(_Operation):
    """An operation in a list: of its outcome the number of warnings, and of a prune's the ids of
    the backups that it deleted. None where the outcome has none."""

    warning_count: int | None
    deleted: list[str] | None


@dataclass(frozen=True, kw_only=True)
class _Backup:
    """An archive kept on this server. `intact` is what its last check found, None where it was
    never checked, `file_missing` says that the row has no file."""

    id: str
    state: str
    reason: str | None = None
    created_at: datetime
    created_by: str
    duration_seconds: float | None = None
    size_bytes: int | None = None
    warning_count: int = 0
    expires_at: datetime | None
    kept: bool = False
    adopted: bool = False
    verified_at: datetime | None = None
    intact: bool | None = None
    file_missing: bool = False

    @property
    def good(self) -> bool:
        """Whether a registry could be restored from it, as far as is known."""
        return self.state == "completed" and self.intact is not False and not self.file_missing


@dataclass(frozen=True, kw_only=True)
class Backup(_Backup):
    """A backup with its `manifest`, the archive's own."""

    manifest: dict[str, Any] | None = None

    @property
    def contents(self) -> dict[str, int] | None:
        """How many there are of what, by the manifest."""
        return None if self.manifest is None else self.manifest["contents"]

    @property
    def checksums(self) -> dict[str, str] | None:
        """The checksums of the manifest; an archive of HexHub's has none."""
        return None if self.manifest is None else self.manifest["checksums"]


@dataclass(frozen=True, kw_only=True)
class ListedBackup(_Backup):
    """A backup in a list: of its manifest only what a list shows."""

    contents: dict[str, int] | None
    checksums: dict[str, str] | None
