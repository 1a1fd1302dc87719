"""Interrupts of the node cloud: targets that are to be observed at once. Written by the cloud agent; the
gateway asks for hand-overs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base
from skyrelay.store.tables.hand_overs import HandedOver


class CloudInterrupt(HandedOver, Base):
    """One interrupt; ``number`` is the cloud's own, so it is known by that and the cloud's address."""

    __tablename__ = "cloud_interrupts"
    __table_args__ = (UniqueConstraint("cloud_url", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cloud_url: Mapped[str]
    number: Mapped[str]
    name: Mapped[str]
    payload: Mapped[dict[str, Any]]  # as the cloud gave it
    received_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)  # of the handler
    problem: Mapped[str] = mapped_column(default="")  # why the handler failed last
    handled_at: Mapped[datetime | None]
    acked_at: Mapped[datetime | None]
