"""The outbox: one row for each thing owed to one destination.

Inserted by the stacker with the fact that it reports, then written by the uploader.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables.base import Base


class Delivery(Base):
    """One stack owed to one destination.

    ``ask_first``: a send had no answer; the server is asked before it is sent again.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("stack_id", "destination"),
        Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    stack_id: Mapped[int] = mapped_column(ForeignKey("stacks.id"))
    destination: Mapped[str]  # skyrelay.store.tables.destinations.Destination.name
    state: Mapped[str] = mapped_column(default=DeliveryState.PENDING)
    reason: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    needs_you: Mapped[bool] = mapped_column(default=False)
    ask_first: Mapped[bool] = mapped_column(default=False)
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]  # when the last send began
    accepted_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    server_job: Mapped[str | None]
    server_chunk_key: Mapped[str | None]  # what the server said: the one that counts for the books
    server_id: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
