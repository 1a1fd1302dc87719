"""The outbox: one row for each thing owed to one destination.

A stack's, and that of a block's raw frames, is inserted by the stacker with the fact that it reports, a
measurement's by the cloud agent before its own first try; then they are written by the uploader.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.store.tables.base import Base


class Delivery(Base):
    """One thing owed to one destination: a stack, a block's raw frames, a measurement, or its image.

    ``ask_first``: a send had no answer; the server is asked before it is sent again. ``item_faults``
    counts the answers in a row that may have been this item's own fault (status 500, say).
    ``raw_frames`` are the frames that go and what the server will make of them, ``raw_session`` what has
    been sent of them so far: `skyrelay.outbox.raw_progress` reads and writes both.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("stack_id", "destination"),
        UniqueConstraint("measurement_id", "kind"),
        UniqueConstraint("block_id", "destination"),
        CheckConstraint(
            "(CASE WHEN stack_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN measurement_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN block_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="one_subject",
        ),
        Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
        Index("ix_deliveries_state_id", "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default=DeliveryKind.STACK)
    stack_id: Mapped[int | None] = mapped_column(ForeignKey("stacks.id"))
    measurement_id: Mapped[int | None] = mapped_column(ForeignKey("measurements.id"))
    block_id: Mapped[int | None] = mapped_column(ForeignKey("blocks.id"))  # whose raw frames are sent
    destination: Mapped[str]  # skyrelay.store.tables.destinations.Destination.name
    state: Mapped[str] = mapped_column(default=DeliveryState.PENDING)
    reason: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    item_faults: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    needs_you: Mapped[bool] = mapped_column(default=False, index=True)
    given_up_at: Mapped[datetime | None]  # when a person wanted it sent no more
    ask_first: Mapped[bool] = mapped_column(default=False)
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]  # when the last send began
    accepted_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    verified_at: Mapped[
        datetime | None
    ]  # when the server's copy was last compared with ours, and was the same (of raw frames: was listed)
    server_job: Mapped[str | None]
    server_chunk_key: Mapped[str | None]  # what the server said: the one that counts for the books
    server_id: Mapped[str | None]
    raw_frames: Mapped[dict[str, Any] | None]
    raw_session: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
