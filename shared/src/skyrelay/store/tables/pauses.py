"""Pauses of stacking that a person has ordered. Written by the gateway, honoured by the stacker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Pause(Base):
    """No new stack is begun of what it names; null names all telescopes, or all targets.

    A run that was under way is left to end.
    """

    __tablename__ = "pauses"
    __table_args__ = (Index("ix_pauses_telescope_id_target", "telescope_id", "target"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int | None] = mapped_column(ForeignKey("telescopes.id"))
    target: Mapped[str | None]
    by: Mapped[str]  # who asked for it
    reason: Mapped[str]
    paused_at: Mapped[datetime]
