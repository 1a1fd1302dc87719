"""Secrets that a person entered, encrypted. Written by whoever a person gives them to."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Secret(Base):
    """One secret, by the name of the setting that it stands in for (``crowdsky.password``)."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(Text)  # of Fernet, under the key in `secret_key_file`
    updated_at: Mapped[datetime]
