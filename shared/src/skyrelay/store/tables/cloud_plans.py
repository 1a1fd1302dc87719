"""Plans of the node cloud, each version of each. Written by the cloud agent; the gateway asks for runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base
from skyrelay.store.tables.hand_overs import HandedOver


class CloudPlanRow(HandedOver, Base):
    """One version of a plan; the row with the highest id is the present one."""

    __tablename__ = "cloud_plans"
    __table_args__ = (UniqueConstraint("plan_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    plan_id: Mapped[str]
    version: Mapped[int]
    night: Mapped[str]  # local date of its evening, as the cloud writes it
    generated_at: Mapped[str]  # as the cloud writes it
    items: Mapped[list[Any]] = mapped_column(JSON)  # as the cloud gave them
    received_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]  # when the cloud said that there is no plan
    told_at: Mapped[datetime | None]  # when the callback had it
    verdicts: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # by item, of the hand-over
