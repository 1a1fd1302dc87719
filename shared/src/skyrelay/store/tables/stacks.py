"""Stacks: what batch-stacking a block yielded. Written by the stacker, then by the uploader (archive)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base, partial_index


class Stack(Base):
    """One stack on the telescope and in the archive.

    ``first_start_at`` and ``last_end_at`` are the true UTC span of its frames; a stack that was handed in
    from a folder does not tell its end, nor how many frames it was made of. ``chunk_key`` is ours,
    from the block and the position (null pixel: position unknown); the server's stands with the
    delivery. A block that was stacked again has several; the one that was made last counts for it.
    """

    __tablename__ = "stacks"
    __table_args__ = (
        UniqueConstraint("telescope_id", "folder", "original_name"),
        Index("ix_stacks_block_id", "block_id"),
        # Of few stacks only, in the words in which queries ask for them.
        partial_index(
            "ix_stacks_offered", "block_id", where="is_offered IS 1", on_postgresql="is_offered IS true"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    block_id: Mapped[int] = mapped_column(ForeignKey("blocks.id"))
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    folder: Mapped[str]
    original_name: Mapped[str]  # DSO_Stacked_…
    crowdsky_name: Mapped[str]  # what it is, or is to be, called
    renamed_at: Mapped[datetime | None]
    rename_error: Mapped[str | None]
    chunk_key: Mapped[str]
    frames_input: Mapped[int | None]  # not known where another tool made it and its frames are gone
    frames_aligned: Mapped[int | None]
    exposure_total_s: Mapped[float]
    first_start_at: Mapped[datetime]
    last_end_at: Mapped[datetime | None]
    ra_deg: Mapped[float | None]
    dec_deg: Mapped[float | None]
    size_bytes: Mapped[int | None]
    archive_path: Mapped[str | None]  # relative to the archive
    sha256: Mapped[str | None]
    picture_path: Mapped[str | None]  # the telescope's JPEG, relative to the archive
    picture_sha256: Mapped[str | None]
    thumbnail_path: Mapped[str | None]  # the telescope's or, where it gave none, our own
    thumbnail_sha256: Mapped[str | None]
    removed_at: Mapped[datetime | None]  # when its file left the archive to make room
    fetched_at: Mapped[datetime | None]
    fetch_attempts: Mapped[int] = mapped_column(default=0)
    fetch_error: Mapped[str | None]
    next_fetch_at: Mapped[datetime | None]
    fetch_lease_until: Mapped[datetime | None]
    # Made by another tool and found on the telescope, or handed in from a folder; offered: it stays there
    # until a person wants it sent.
    found_at: Mapped[datetime | None]
    is_offered: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime]

    @property
    def knows_frames(self) -> bool:
        """Whether its frames are known; if not, ``last_end_at`` is the earliest that it can be."""
        return bool(self.frames_input)

    @property
    def last_start_at(self) -> datetime | None:
        """When the last frame's exposure began, its DATE-OBS: what CrowdSky calls ``date_obs_end``."""
        if self.last_end_at is None or self.frames_aligned is None:
            return None
        return self.last_end_at - timedelta(seconds=self.exposure_total_s / max(self.frames_aligned, 1))
