"""Telescopes to try before they are added. Asked by the gateway, answered by the stacker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class TelescopeTrial(Base):
    """One question, and its answer once there is one."""

    __tablename__ = "telescope_trials"

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope: Mapped[dict[str, Any]]  # as the settings would hold it: where its key lies, never the key
    watches: Mapped[bool]  # whether its share is to be watched
    asked_at: Mapped[datetime]
    asked_by: Mapped[str]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    answer: Mapped[dict[str, Any] | None]
    problem: Mapped[str] = mapped_column(default="")  # why there is no answer
