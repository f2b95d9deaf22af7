"""Clients sign in by a code that is confirmed on a page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "device_codes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("device_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("user_code", sa.String(8), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.Column("asked_at", _MOMENT),
        sa.Column("denied", sa.Boolean, nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), index=True),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("access_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("refresh_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("inserted_at", _MOMENT, nullable=False),
        sa.Column("refreshed_at", _MOMENT, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("devices")
    op.drop_table("device_codes")
