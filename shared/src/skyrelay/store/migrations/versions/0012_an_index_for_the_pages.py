"""An index for what the pages ask each time: the blocks that need a person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_blocks_needs_you",
        "blocks",
        ["needs_you"],
        sqlite_where=sa.text("needs_you IS 1"),
        postgresql_where=sa.text("needs_you IS TRUE"),
    )
