"""Blocks that a person wants stacked although a stack of them lies there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "blocks", sa.Column("is_wanted_again", sa.Boolean(), nullable=False, server_default=sa.false())
    )
