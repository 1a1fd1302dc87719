"""What a person wants looked up in the network. Asked by the gateway, answered by the stacker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Lookup(Base):
    """One question, and its answer once there is one."""

    __tablename__ = "lookups"
    __table_args__ = (Index("ix_lookups_finished_at", "finished_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]  # find | test | inventory
    question: Mapped[dict[str, Any]]
    asked_at: Mapped[datetime]
    asked_by: Mapped[str]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    answer: Mapped[dict[str, Any] | None]
    problem: Mapped[str] = mapped_column(default="")  # why there is no answer
