"""Purges: what a person wants removed from telescopes, and what became of it.

Asked for and confirmed by the gateway; listed and carried out by the stacker.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Purge(Base):
    """One wish of one person. Of the token that confirms it only a hash is kept."""

    __tablename__ = "purges"

    id: Mapped[int] = mapped_column(primary_key=True)
    by: Mapped[str]
    target: Mapped[str | None]  # the folder of stacks; null: all of them
    undelivered: Mapped[bool]  # whether stacks go too that CrowdSky is not known to have
    asked_at: Mapped[datetime]
    token_sha256: Mapped[str | None] = mapped_column(unique=True)
    token_until: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]


class PurgePart(Base):
    """A purge on one telescope."""

    __tablename__ = "purge_parts"
    __table_args__ = (
        UniqueConstraint("purge_id", "telescope_id"),
        Index("ix_purge_parts_state", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    purge_id: Mapped[int] = mapped_column(ForeignKey("purges.id"))
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    state: Mapped[str]  # skyrelay.domain.purge_states.PurgeState
    reason: Mapped[str] = mapped_column(default="")
    next_attempt_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class PurgeFile(Base):
    """One file that was listed for a purge."""

    __tablename__ = "purge_files"
    __table_args__ = (UniqueConstraint("part_id", "folder", "file_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    part_id: Mapped[int] = mapped_column(ForeignKey("purge_parts.id"))
    folder: Mapped[str]
    file_name: Mapped[str]
    size_bytes: Mapped[int | None]
    is_delivered: Mapped[bool]  # CrowdSky lists the stack that it is, or belongs to
    state: Mapped[str]  # skyrelay.domain.purge_states.PurgedFile
    reason: Mapped[str] = mapped_column(default="")
    updated_at: Mapped[datetime]
