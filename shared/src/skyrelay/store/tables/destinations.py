"""Where deliveries go, and whether the account there works. Written by the uploader."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base

CROWDSKY = "crowdsky"
CLOUD = "cloud"
ARCHIVE = "archive"  # our own disk: what comes from the telescopes is owed to it


class Destination(Base):
    """One destination's account.

    While ``paused_reason`` is set nothing is sent there. ``credentials_digest`` tells when the
    credentials have changed since the pause (a salted digest, from which they cannot be had back).
    ``failures`` counts the sends that failed since the last one that worked, ``listing_failures`` the
    questions for the server's list; ``trouble`` says in words what the last of them met.
    """

    __tablename__ = "destinations"

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_reason: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    credentials_digest: Mapped[str | None]
    next_probe_at: Mapped[datetime | None]
    last_ok_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    listing_failures: Mapped[int] = mapped_column(default=0)
    trouble: Mapped[str | None]
