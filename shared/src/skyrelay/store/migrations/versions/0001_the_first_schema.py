"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=True),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("to_state", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"], unique=False)
    op.create_index(
        "ix_audit_log_subject_kind_subject_id", "audit_log", ["subject_kind", "subject_id"], unique=False
    )
    op.create_table(
        "destinations",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("paused_reason", sa.String(), nullable=True),
        sa.Column("paused_at", sa.DateTime(), nullable=True),
        sa.Column("credentials_digest", sa.String(), nullable=True),
        sa.Column("next_probe_at", sa.DateTime(), nullable=True),
        sa.Column("last_ok_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destinations")),
    )
    op.create_table(
        "ignored_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ignored_files")),
        sa.UniqueConstraint("root", "path", name=op.f("uq_ignored_files_root_path")),
    )
    op.create_table(
        "telescopes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("rpc_port", sa.Integer(), nullable=False),
        sa.Column("http_port", sa.Integer(), nullable=False),
        sa.Column("smb_port", sa.Integer(), nullable=False),
        sa.Column("smb_share", sa.String(), nullable=False),
        sa.Column("key_path", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("firmware_int", sa.Integer(), nullable=True),
        sa.Column("firmware", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_reason", sa.String(), nullable=False),
        sa.Column("state_since", sa.DateTime(), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(), nullable=True),
        sa.Column("idle_since", sa.DateTime(), nullable=True),
        sa.Column("clock_checked_at", sa.DateTime(), nullable=True),
        sa.Column("clock_wrong_since", sa.DateTime(), nullable=True),
        sa.Column("battery_percent", sa.Integer(), nullable=True),
        sa.Column("charging", sa.Boolean(), nullable=True),
        sa.Column("free_mb", sa.Integer(), nullable=True),
        sa.Column("inventory_started_at", sa.DateTime(), nullable=True),
        sa.Column("inventory_finished_at", sa.DateTime(), nullable=True),
        sa.Column("inventory_error", sa.String(), nullable=True),
        sa.Column("next_look_at", sa.DateTime(), nullable=True),
        sa.Column("lease_holder", sa.String(), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("lease_fence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_telescopes")),
        sa.UniqueConstraint("name", name=op.f("uq_telescopes_name")),
        sa.UniqueConstraint("serial", name=op.f("uq_telescopes_serial")),
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("exposure", sa.String(), nullable=False),
        sa.Column("exposure_s", sa.Double(), nullable=False),
        sa.Column("filter", sa.String(), nullable=False),
        sa.Column("start_at", sa.DateTime(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("utc_offset_min", sa.Integer(), nullable=False),
        sa.Column("night", sa.String(), nullable=False),
        sa.Column("frame_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("requested", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(), nullable=True),
        sa.Column("needs_you", sa.Boolean(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=True),
        sa.Column("intent", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("frames_changed_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_blocks_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
        sa.UniqueConstraint(
            "telescope_id",
            "target",
            "exposure",
            "filter",
            "start_at",
            "minutes",
            name=op.f("uq_blocks_telescope_id_target_exposure_filter_start_at_minutes"),
        ),
    )
    op.create_index(op.f("ix_blocks_night"), "blocks", ["night"], unique=False)
    op.create_index("ix_blocks_state_next_attempt_at", "blocks", ["state", "next_attempt_at"], unique=False)
    op.create_index(
        "uq_blocks_stacking_telescope_id",
        "blocks",
        ["telescope_id"],
        unique=True,
        sqlite_where=sa.text("state = 'stacking'"),
        postgresql_where=sa.text("state = 'stacking'"),
    )
    op.create_table(
        "stacks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("block_id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("original_name", sa.String(), nullable=False),
        sa.Column("crowdsky_name", sa.String(), nullable=False),
        sa.Column("renamed_at", sa.DateTime(), nullable=True),
        sa.Column("rename_error", sa.String(), nullable=True),
        sa.Column("chunk_key", sa.String(), nullable=False),
        sa.Column("frames_input", sa.Integer(), nullable=False),
        sa.Column("frames_aligned", sa.Integer(), nullable=False),
        sa.Column("exposure_total_s", sa.Double(), nullable=False),
        sa.Column("first_start_at", sa.DateTime(), nullable=False),
        sa.Column("last_end_at", sa.DateTime(), nullable=False),
        sa.Column("ra_deg", sa.Double(), nullable=True),
        sa.Column("dec_deg", sa.Double(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("archive_path", sa.String(), nullable=True),
        sa.Column("thumbnail_path", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("fetched_at", sa.DateTime(), nullable=True),
        sa.Column("fetch_attempts", sa.Integer(), nullable=False),
        sa.Column("fetch_error", sa.String(), nullable=True),
        sa.Column("next_fetch_at", sa.DateTime(), nullable=True),
        sa.Column("fetch_lease_until", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f("fk_stacks_block_id_blocks")),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_stacks_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stacks")),
        sa.UniqueConstraint("block_id", name=op.f("uq_stacks_block_id")),
        sa.UniqueConstraint(
            "telescope_id",
            "folder",
            "original_name",
            name=op.f("uq_stacks_telescope_id_folder_original_name"),
        ),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stack_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(), nullable=True),
        sa.Column("needs_you", sa.Boolean(), nullable=False),
        sa.Column("ask_first", sa.Boolean(), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(), nullable=True),
        sa.Column("server_job", sa.String(), nullable=True),
        sa.Column("server_chunk_key", sa.String(), nullable=True),
        sa.Column("server_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["stack_id"], ["stacks.id"], name=op.f("fk_deliveries_stack_id_stacks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("stack_id", "destination", name=op.f("uq_deliveries_stack_id_destination")),
    )
    op.create_index(
        "ix_deliveries_state_next_attempt_at", "deliveries", ["state", "next_attempt_at"], unique=False
    )
    op.create_table(
        "frames",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("exposure", sa.String(), nullable=False),
        sa.Column("exposure_s", sa.Double(), nullable=False),
        sa.Column("filter", sa.String(), nullable=False),
        sa.Column("saved_local", sa.DateTime(), nullable=False),
        sa.Column("start_at", sa.DateTime(), nullable=True),
        sa.Column("start_source", sa.String(), nullable=True),
        sa.Column("utc_offset_min", sa.Integer(), nullable=True),
        sa.Column("offset_source", sa.String(), nullable=True),
        sa.Column("ra_deg", sa.Double(), nullable=True),
        sa.Column("dec_deg", sa.Double(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_reason", sa.String(), nullable=True),
        sa.Column("needs_release", sa.Boolean(), nullable=False),
        sa.Column("is_no_fits", sa.Boolean(), nullable=False),
        sa.Column("seen_by", sa.String(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.Column("inventoried_at", sa.DateTime(), nullable=True),
        sa.Column("block_id", sa.Integer(), nullable=True),
        sa.Column("stack_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f("fk_frames_block_id_blocks")),
        sa.ForeignKeyConstraint(["stack_id"], ["stacks.id"], name=op.f("fk_frames_stack_id_stacks")),
        sa.ForeignKeyConstraint(
            ["telescope_id"], ["telescopes.id"], name=op.f("fk_frames_telescope_id_telescopes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frames")),
        sa.UniqueConstraint(
            "telescope_id", "folder", "file_name", name=op.f("uq_frames_telescope_id_folder_file_name")
        ),
    )
    op.create_index("ix_frames_block_id_state", "frames", ["block_id", "state"], unique=False)
    op.create_index("ix_frames_telescope_id_start_at", "frames", ["telescope_id", "start_at"], unique=False)
