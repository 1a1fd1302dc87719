"""Plans and interrupts of the node cloud; a telescope's temperature, for the heartbeats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("telescopes", sa.Column("temperature_c", sa.Double(), nullable=True))
    op.create_table(
        "cloud_plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("night", sa.String(), nullable=False),
        sa.Column("generated_at", sa.String(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=True),
        sa.Column("told_at", sa.DateTime(), nullable=True),
        sa.Column("run_asked_at", sa.DateTime(), nullable=True),
        sa.Column("replace_running", sa.Boolean(), nullable=False),
        sa.Column("run_state", sa.String(), nullable=False),
        sa.Column("run_reason", sa.String(), nullable=False),
        sa.Column("run_at", sa.DateTime(), nullable=True),
        sa.Column("telescope", sa.String(), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cloud_plans")),
        sa.UniqueConstraint("plan_id", "version", name=op.f("uq_cloud_plans_plan_id_version")),
    )
    op.create_table(
        "cloud_interrupts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cloud_url", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("handled_at", sa.DateTime(), nullable=True),
        sa.Column("acked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cloud_interrupts")),
        sa.UniqueConstraint("cloud_url", "number", name=op.f("uq_cloud_interrupts_cloud_url_number")),
    )
