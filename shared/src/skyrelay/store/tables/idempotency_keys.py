"""Answers to control calls that named an Idempotency-Key. Written by the gateway, tidied by the stacker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class IdempotencyKey(Base):
    """One call that must not be carried out twice; ``status`` is null while it is under way."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]  # SHA-256 of method, path, query and body
    begun_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None]
    media_type: Mapped[str | None]
    body: Mapped[str | None] = mapped_column(Text)
