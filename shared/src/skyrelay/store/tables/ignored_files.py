"""FITS files that were seen and are no light frames. Written by the intake."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class IgnoredFile(Base):
    """One file that is left alone, and why: nothing is dropped silently."""

    __tablename__ = "ignored_files"
    __table_args__ = (UniqueConstraint("root", "path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    root: Mapped[str]
    path: Mapped[str]
    reason: Mapped[str]
    seen_at: Mapped[datetime]
