"""Failed attempts are counted, and the code of a second factor is taken once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("users", sa.Column("totp_used_step", sa.Integer))
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False, index=True),
        sa.Column("at", _MOMENT, nullable=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_column("users", "totp_used_step")
