"""Pauses, runs, where a telescope stands, and stacks of a block beside its first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("telescopes", sa.Column("latitude_deg", sa.Double(), nullable=True))
    op.add_column("telescopes", sa.Column("longitude_deg", sa.Double(), nullable=True))
    op.add_column("telescopes", sa.Column("zone", sa.String(), nullable=True))
    op.add_column("telescopes", sa.Column("served_at", sa.DateTime(), nullable=True))
    op.add_column("stacks", sa.Column("found_at", sa.DateTime(), nullable=True))
    op.add_column("stacks", sa.Column("is_offered", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("stacks") as table:
        table.drop_constraint("uq_stacks_block_id", type_="unique")  # a block may be stacked again
    op.create_index("ix_stacks_block_id", "stacks", ["block_id"])
    op.create_index("ix_blocks_telescope_id_state", "blocks", ["telescope_id", "state"])
    op.create_index(
        "ix_blocks_telescope_id_target_started_at", "blocks", ["telescope_id", "target", "started_at"]
    )
    _create_pauses()
    _create_runs()


def _create_pauses() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=True),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("paused_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_pauses_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pauses")),
    )
    op.create_index("ix_pauses_telescope_id_target", "pauses", ["telescope_id", "target"])


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("night", sa.String(), nullable=False),
        sa.Column("began_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_runs_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_night"), "runs", ["night"])
    op.create_index(
        "uq_runs_open_telescope_id",
        "runs",
        ["telescope_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "run_blocks",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("block_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("stack_id", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f("fk_run_blocks_block_id_blocks")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_blocks_run_id_runs")),
        sa.ForeignKeyConstraint(["stack_id"], ["stacks.id"], name=op.f("fk_run_blocks_stack_id_stacks")),
        sa.PrimaryKeyConstraint("run_id", "block_id", name=op.f("pk_run_blocks")),
    )
