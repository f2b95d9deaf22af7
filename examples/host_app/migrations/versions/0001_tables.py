"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(255), nullable=False, unique=True),
        sa.Column("email", sa.String(255), nullable=False, unique=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("totp_enabled", sa.Boolean, nullable=False),
        sa.Column("totp_secret", sa.String(64)),
        sa.Column("service_account", sa.Boolean, nullable=False),
        sa.Column("deactivated_at", _MOMENT),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "packages",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("repository_name", sa.String(255), nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
        sa.Column("private", sa.Boolean, nullable=False),
        sa.Column("downloads", sa.Integer, nullable=False),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("html_url", sa.Text),
        sa.Column("docs_html_url", sa.Text),
        sa.Column("source", sa.String(16), nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("package_id", sa.Integer, sa.ForeignKey("packages.id"), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("has_docs", sa.Boolean, nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
        sa.Column("requirements", sa.JSON, nullable=False),
        sa.Column("retired", sa.JSON),
        sa.Column("downloads", sa.Integer, nullable=False),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("package_url", sa.Text),
        sa.Column("html_url", sa.Text),
        sa.Column("docs_html_url", sa.Text),
        sa.UniqueConstraint("package_id", "version"),
    )
    op.create_table(
        "owners",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("package_id", sa.Integer, sa.ForeignKey("packages.id"), nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("package_id", "user_id"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("inserted_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(255)),
        sa.Column("at", _MOMENT, nullable=False, index=True),
        sa.Column("address", sa.String(64)),
        sa.Column("details", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    for name in ("audit_events", "api_keys", "owners", "releases", "packages", "users"):
        op.drop_table(name)
