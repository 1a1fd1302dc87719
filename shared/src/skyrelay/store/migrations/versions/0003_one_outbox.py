"""One outbox for all that leaves the house; pictures and removals in the archive; secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("filter", sa.String(), nullable=False),
        sa.Column("bjd", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("image_path", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    with op.batch_alter_table("destinations") as table:
        table.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("listing_failures", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("trouble", sa.String(), nullable=True))
    with op.batch_alter_table("stacks") as table:
        table.add_column(sa.Column("picture_path", sa.String(), nullable=True))
        table.add_column(sa.Column("picture_sha256", sa.String(), nullable=True))
        table.add_column(sa.Column("thumbnail_sha256", sa.String(), nullable=True))
        table.add_column(sa.Column("removed_at", sa.DateTime(), nullable=True))
    _change_deliveries()


def _change_deliveries() -> None:
    with op.batch_alter_table("deliveries") as table:
        table.add_column(sa.Column("kind", sa.String(), nullable=False, server_default="stack"))
        table.add_column(sa.Column("measurement_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("item_faults", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("verified_at", sa.DateTime(), nullable=True))
        table.alter_column("stack_id", existing_type=sa.Integer(), nullable=True)
        table.create_foreign_key(
            op.f("fk_deliveries_measurement_id_measurements"), "measurements", ["measurement_id"], ["id"]
        )
        table.create_unique_constraint(op.f("uq_deliveries_measurement_id_kind"), ["measurement_id", "kind"])
        table.create_check_constraint(
            op.f("ck_deliveries_one_subject"), "(stack_id IS NULL) <> (measurement_id IS NULL)"
        )
