"""Measurements that are owed to the node cloud. Written by the cloud agent, never changed afterwards."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Measurement(Base):
    """One photometric measurement, as the JSON text that is sent for it.

    The text is kept as it was given: a retry must send ``bjd`` bit for bit the same, for (node, target,
    bjd, filter) is how the cloud knows a measurement again. ``bjd`` is its number as it is written there.
    """

    __tablename__ = "measurements"

    id: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[str]
    filter: Mapped[str]
    bjd: Mapped[str]
    payload: Mapped[str] = mapped_column(Text)  # {"measurement": {…}, "conditions": {…}}
    image_path: Mapped[str | None]  # the FITS that is to follow it
    created_at: Mapped[datetime]
