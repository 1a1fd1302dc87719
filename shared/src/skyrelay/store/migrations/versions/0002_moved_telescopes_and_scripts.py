"""Where telescopes that moved were found, how far they can be reached, and what scripts had stacked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("telescopes", sa.Column("found_host", sa.String(), nullable=True))
    op.add_column("telescopes", sa.Column("reach", sa.String(), nullable=True))
    op.create_table(
        "scripted_stacks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("exposure", sa.String(), nullable=False),
        sa.Column("filter", sa.String(), nullable=False),
        sa.Column("start_at", sa.DateTime(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("files", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("outputs_before", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("first_start_at", sa.DateTime(), nullable=False),
        sa.Column("last_start_at", sa.DateTime(), nullable=False),
        sa.Column("begun_at", sa.DateTime(), nullable=False),
        sa.Column("stacked_at", sa.DateTime(), nullable=True),
        sa.Column("original_name", sa.String(), nullable=True),
        sa.Column("crowdsky_name", sa.String(), nullable=True),
        sa.Column("frames_aligned", sa.Integer(), nullable=True),
        sa.Column("renamed_at", sa.DateTime(), nullable=True),
        sa.Column("rename_error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_scripted_stacks_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scripted_stacks")),
        sa.UniqueConstraint(
            "telescope_id",
            "target",
            "exposure",
            "filter",
            "start_at",
            "minutes",
            name=op.f("uq_scripted_stacks_block"),
        ),
    )
