"""What a person is, or was, to be told of, for each address. Written by the cloud agent."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Notice(Base):
    """One thing to tell one address, once for as long as it is the case.

    ``subject`` is what is told at most once an hour; ``address`` a digest, since addresses hold secrets.
    """

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("key", "address"),
        Index("ix_notices_address_subject", "address", "subject"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]  # what it is about: needs:…, gone:…, receipt:…
    address: Mapped[str]
    subject: Mapped[str]
    title: Mapped[str]
    text: Mapped[str]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]  # when it was the case no more
    told_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    problem: Mapped[str | None]  # of the last attempt
