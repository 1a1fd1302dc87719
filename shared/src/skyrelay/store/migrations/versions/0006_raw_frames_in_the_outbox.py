"""Raw frames in the outbox: the block that they are of, what was sent of them, and where they were seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ONE_SUBJECT = " + ".join(
    f"(CASE WHEN {column} IS NULL THEN 0 ELSE 1 END)" for column in ("stack_id", "measurement_id", "block_id")
)


def upgrade() -> None:
    op.add_column("blocks", sa.Column("too_few_stars", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("frames", sa.Column("seen_root", sa.String(), nullable=True))
    op.add_column("frames", sa.Column("seen_path", sa.String(), nullable=True))
    op.add_column("frames", sa.Column("is_sent_raw", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("deliveries") as table:
        table.add_column(sa.Column("block_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("raw_frames", sa.JSON(none_as_null=True), nullable=True))
        table.add_column(sa.Column("raw_session", sa.JSON(none_as_null=True), nullable=True))
        table.create_foreign_key(op.f("fk_deliveries_block_id_blocks"), "blocks", ["block_id"], ["id"])
        table.create_unique_constraint(
            op.f("uq_deliveries_block_id_destination"), ["block_id", "destination"]
        )
        table.drop_constraint(op.f("ck_deliveries_one_subject"), type_="check")
        table.create_check_constraint(op.f("ck_deliveries_one_subject"), f"{_ONE_SUBJECT} = 1")
