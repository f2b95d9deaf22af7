"""Sessions hang on a token, so that they can be ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    column = sa.Column("session_token", sa.String(32), nullable=False, server_default="")
    op.add_column("users", column)


def downgrade() -> None:
    op.drop_column("users", "session_token")
