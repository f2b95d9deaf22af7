"""The tables of the registry."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from flask import current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, DateTime, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship


class Base(DeclarativeBase):
    """What all models have in common: their metadata, and times in microseconds, which MariaDB has
    only where it is told."""

    registry = registry(
        type_annotation_map={datetime: DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")}
    )


db = SQLAlchemy(model_class=Base)
if TYPE_CHECKING:
    Model = Base  # db.Model is made at run time, out of this one
else:
    Model = db.Model


def now() -> datetime:
    """The present, as all times are stored: UTC, without a zone, in microseconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def new_session_token() -> str:
    """What the sessions of an account hang on."""
    return secrets.token_hex(16)


class User(Model):
    """An account. Its TOTP secret and which codes of it were used, its session token, its API keys
    and the tokens of its devices never leave this database."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    is_admin: Mapped[bool] = mapped_column(default=False)
    totp_enabled: Mapped[bool] = mapped_column(default=False)
    totp_secret: Mapped[str | None] = mapped_column(String(64))
    totp_used_step: Mapped[int | None]
    session_token: Mapped[str] = mapped_column(
        String(32), default=new_session_token, server_default=""
    )
    service_account: Mapped[bool] = mapped_column(default=False)
    deactivated_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    # What Flask-Login asks of a user.
    is_authenticated = True
    is_anonymous = False

    @property
    def is_active(self) -> bool:
        return self.deactivated_at is None

    def get_id(self) -> str:
        """What sessions and remember-me cookies hold instead of the number alone: they end with
        the session token (see `accounts.end_sessions`), and with the password at once."""
        key = str(current_app.secret_key).encode()
        ends_with = f"{self.id} {self.session_token} {self.password_hash}".encode()
        return f"{self.id}.{hmac.digest(key, ends_with, 'sha256').hex()}"


class Package(Model):
    """A package: published here (`source` is `local`), or cached from an upstream registry."""

    __tablename__ = "packages"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    repository_name: Mapped[str] = mapped_column(String(255), default="hexpm")
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    private: Mapped[bool] = mapped_column(default=False)
    downloads: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    html_url: Mapped[str | None] = mapped_column(Text)
    docs_html_url: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(16), default="local")

    releases: Mapped[list[Release]] = relationship(
        back_populates="package", order_by="Release.inserted_at.desc()"
    )
    owners: Mapped[list[Owner]] = relationship(back_populates="package")


class Release(Model):
    """One version of a package. Its files are in the storage; see `files.py`."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("package_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    version: Mapped[str] = mapped_column(String(255))
    has_docs: Mapped[bool] = mapped_column(default=False)
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    requirements: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    retired: Mapped[Any | None] = mapped_column(JSON(none_as_null=True), nullable=True)
    downloads: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    url: Mapped[str | None] = mapped_column(Text)
    package_url: Mapped[str | None] = mapped_column(Text)
    html_url: Mapped[str | None] = mapped_column(Text)
    docs_html_url: Mapped[str | None] = mapped_column(Text)

    package: Mapped[Package] = relationship(back_populates="releases")


class Owner(Model):
    """A user who may publish a package."""

    __tablename__ = "owners"
    __table_args__ = (UniqueConstraint("package_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    level: Mapped[str] = mapped_column(String(16), default="full")
    inserted_at: Mapped[datetime] = mapped_column(default=now)

    package: Mapped[Package] = relationship(back_populates="owners")
    user: Mapped[User] = relationship()


class ApiKey(Model):
    """A key with which a client publishes; only its SHA-256 is known here."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    key_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    inserted_at: Mapped[datetime] = mapped_column(default=now)

    user: Mapped[User] = relationship()


class DeviceCode(Model):
    """A client that waits until a user confirms its code; see `devices.py`."""

    __tablename__ = "device_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_code: Mapped[str] = mapped_column(String(8), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    scope: Mapped[str] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(String(64))
    inserted_at: Mapped[datetime] = mapped_column(default=now)
    asked_at: Mapped[datetime | None]
    denied: Mapped[bool] = mapped_column(default=False)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)

    user: Mapped[User | None] = relationship()


class Device(Model):
    """A client that is signed in. Of its two tokens only the SHA-256 is known here."""

    __tablename__ = "devices"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    access_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    refresh_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    inserted_at: Mapped[datetime] = mapped_column(default=now)
    refreshed_at: Mapped[datetime] = mapped_column(default=now)

    user: Mapped[User] = relationship()


class Attempt(Model):
    """Somebody has tried something that can be guessed, and it was not right; see `throttle.py`."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class AuditEvent(Model):
    """Who did what, when and from where. `actor` is a text: it outlives the account."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str | None] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    address: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
