"""What callers of the API ask for: looks, inventories, finds, releases; kept answers; indexes for lists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TELESCOPE_TIMES = ("looked_at", "inventory_asked_at", "added_at", "forgotten_at")
_INDEXES = (
    ("frames", ("telescope_id", "id")),
    ("frames", ("target", "id")),
    ("frames", ("telescope_id", "target", "id")),
    ("frames", ("saved_local",)),
    ("audit_log", ("subject_kind", "at")),
    ("audit_log", ("subject_kind", "subject_id", "at")),
    ("deliveries", ("state", "id")),
    ("deliveries", ("needs_you",)),
    ("blocks", ("needs_you",)),
)
_OF_TARGETS = ["target", "telescope_id", "state", "frame_count", "exposure_s", "night"]
# Of few frames only: they lead no other query astray.
_OF_SOME_FRAMES = (
    ("ix_frames_not_ok_state_id", ["state", "id"], "state <> 'ok'"),
    ("ix_frames_unstacked_seen_at", ["seen_at"], "stack_id IS NULL"),
)


def upgrade() -> None:
    for name in _TELESCOPE_TIMES:
        op.add_column("telescopes", sa.Column(name, sa.DateTime(), nullable=True))
    op.add_column("frames", sa.Column("released_at", sa.DateTime(), nullable=True))
    op.add_column("deliveries", sa.Column("given_up_at", sa.DateTime(), nullable=True))
    op.create_table(
        "discoveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("found", sa.JSON(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discoveries")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("begun_at", sa.DateTime(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("media_type", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_begun_at"), "idempotency_keys", ["begun_at"])
    for table, columns in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))
    op.create_index("ix_blocks_of_targets", "blocks", _OF_TARGETS)
    for name, of_some, condition in _OF_SOME_FRAMES:
        where = sa.text(condition)
        op.create_index(name, "frames", of_some, sqlite_where=where, postgresql_where=where)
    op.drop_index("ix_audit_log_subject_kind_subject_id", "audit_log")
