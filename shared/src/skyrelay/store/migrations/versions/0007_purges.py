"""Purges over the gateway: what was listed, confirmed and removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "purges",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("undelivered", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=True),
        sa.Column("token_until", sa.DateTime(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purges")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_purges_token_sha256")),
    )
    _create_parts()
    _create_files()


def _create_parts() -> None:
    op.create_table(
        "purge_parts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("purge_id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["purge_id"], ["purges.id"], name=op.f("fk_purge_parts_purge_id_purges")),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_purge_parts_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purge_parts")),
        sa.UniqueConstraint("purge_id", "telescope_id", name=op.f("uq_purge_parts_purge_id_telescope_id")),
    )
    op.create_index("ix_purge_parts_state", "purge_parts", ["state"])


def _create_files() -> None:
    op.create_table(
        "purge_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("part_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("is_delivered", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["part_id"], ["purge_parts.id"], name=op.f("fk_purge_files_part_id_purge_parts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purge_files")),
        sa.UniqueConstraint(
            "part_id", "folder", "file_name", name=op.f("uq_purge_files_part_id_folder_file_name")
        ),
    )
