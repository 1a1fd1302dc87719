"""Interrupts are handed to the telescope when asked for; stacks from a folder, of which less is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cloud_plans", _flag("can_replace"))
    op.add_column("cloud_interrupts", sa.Column("run_asked_at", sa.DateTime(), nullable=True))
    op.add_column("cloud_interrupts", sa.Column("run_at", sa.DateTime(), nullable=True))
    for name in ("run_state", "run_reason", "telescope"):
        op.add_column("cloud_interrupts", sa.Column(name, sa.String(), nullable=False, server_default=""))
    for name in ("replace_running", "can_replace"):
        op.add_column("cloud_interrupts", _flag(name))
    with op.batch_alter_table("stacks") as table:
        table.alter_column("frames_input", existing_type=sa.Integer(), nullable=True)
        table.alter_column("frames_aligned", existing_type=sa.Integer(), nullable=True)
        table.alter_column("last_end_at", existing_type=sa.DateTime(), nullable=True)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
