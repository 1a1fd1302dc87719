"""Plans of the node cloud, each version of each. Written by the cloud agent; the gateway asks for runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class CloudPlanRow(Base):
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
    run_asked_at: Mapped[datetime | None]  # when a person, or `cloud.auto_run_plans`, asked for it to be run
    replace_running: Mapped[bool] = mapped_column(default=False)  # a person allowed what runs to be stopped
    run_state: Mapped[str] = mapped_column(default="")  # "", waiting, handed over, refused
    run_reason: Mapped[str] = mapped_column(default="")
    run_at: Mapped[datetime | None]  # of the last change of `run_state`
    telescope: Mapped[str] = mapped_column(default="")  # name of the one that has it
    verdicts: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # by item, of the hand-over
