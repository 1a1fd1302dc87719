"""Who is in the network: asked for by a person through the gateway, answered by the stacker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Discovery(Base):
    """One question to the network; ``finished_at`` is null until it was asked and answered.

    ``addresses`` are as `skyrelay.domain.asked.asked_of` reads them, asked besides everybody; ``found`` has
    a serial number, a model and addresses for each telescope that answered.
    """

    __tablename__ = "discoveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    addresses: Mapped[list[str]]
    asked_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    found: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[str] = mapped_column(default="")  # why nobody could be asked
