"""The stacks that other tools made and nobody has wanted sent are found without a look at all the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_stacks_offered",
        "stacks",
        ["block_id"],
        sqlite_where=sa.text("is_offered IS 1"),
        postgresql_where=sa.text("is_offered IS true"),
    )
