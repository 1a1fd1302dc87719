"""Sub-frames, each recorded once. Written by the intake and by the stacker's inventories."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base, partial_index


class Frame(Base):
    """One sub-frame; (telescope, folder, file name) is its identity, whichever way it was seen.

    ``saved_local`` is the naive wall clock of its name; ``start_at`` the start of its exposure, from
    DATE-OBS or estimated from the name.
    """

    __tablename__ = "frames"
    __table_args__ = (
        UniqueConstraint("telescope_id", "folder", "file_name"),
        Index("ix_frames_block_id_state", "block_id", "state"),
        Index("ix_frames_telescope_id_start_at", "telescope_id", "start_at"),
        # For lists, the latest first, of what callers confine them to.
        Index("ix_frames_telescope_id_id", "telescope_id", "id"),
        Index("ix_frames_target_id", "target", "id"),
        Index("ix_frames_telescope_id_target_id", "telescope_id", "target", "id"),
        Index("ix_frames_saved_local", "saved_local"),
        # Of few frames only: they lead no other query astray.
        partial_index("ix_frames_not_ok_state_id", "state", "id", where="state <> 'ok'"),
        partial_index("ix_frames_unstacked_seen_at", "seen_at", where="stack_id IS NULL"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    folder: Mapped[str]
    file_name: Mapped[str]
    target: Mapped[str]
    exposure: Mapped[str]
    exposure_s: Mapped[float]
    filter: Mapped[str]
    saved_local: Mapped[datetime] = mapped_column(DateTime())
    start_at: Mapped[datetime | None]
    start_source: Mapped[str | None]  # header | name
    utc_offset_min: Mapped[int | None]
    offset_source: Mapped[str | None]  # skyrelay.domain.utc_offset.OffsetSource
    ra_deg: Mapped[float | None]
    dec_deg: Mapped[float | None]
    size_bytes: Mapped[int]
    state: Mapped[str]  # skyrelay.domain.states.FrameState
    state_reason: Mapped[str | None]
    # Taken while its telescope's clock was wrong, as far as we can tell: only a person lets it go on.
    needs_release: Mapped[bool] = mapped_column(default=False)
    released_at: Mapped[datetime | None]  # when a person let it go on; it is not held again
    is_no_fits: Mapped[bool] = mapped_column(default=False)  # unreadable for good, unless the file changes
    seen_by: Mapped[str]  # watcher | inventory
    seen_at: Mapped[datetime]
    # Where the watcher saw it: the watched folder as configured, and the path below it.
    seen_root: Mapped[str | None]
    seen_path: Mapped[str | None]
    inventoried_at: Mapped[datetime | None]  # start of the last inventory that found it on the telescope
    block_id: Mapped[int | None] = mapped_column(ForeignKey("blocks.id"))
    stack_id: Mapped[int | None] = mapped_column(ForeignKey("stacks.id"))  # the stack that was made of it
    # Its block goes to the server's own stacker, and it with it; of such a block the others came too late.
    is_sent_raw: Mapped[bool] = mapped_column(default=False, server_default=false())
