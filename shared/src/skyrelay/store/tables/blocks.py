"""Blocks: the unit of stacking. Written by the stacker, through `skyrelay.store.transitions`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.domain.states import BlockState
from skyrelay.store.tables.base import Base, partial_index


class Block(Base):
    """The frames of one telescope, target, exposure and filter in one span of its local clock.

    At most one block a telescope is being stacked: the database itself keeps that.
    """

    __tablename__ = "blocks"
    __table_args__ = (
        UniqueConstraint("telescope_id", "target", "exposure", "filter", "start_at", "minutes"),
        Index("ix_blocks_state_next_attempt_at", "state", "next_attempt_at"),
        Index("ix_blocks_telescope_id_state", "telescope_id", "state"),
        Index("ix_blocks_telescope_id_target_started_at", "telescope_id", "target", "started_at"),
        # All that the list of targets asks for, so that it is added up in order.
        Index(
            "ix_blocks_of_targets",
            "target",
            "telescope_id",
            "state",
            "frame_count",
            "exposure_s",
            "night",
        ),
        partial_index(
            "uq_blocks_stacking_telescope_id", "telescope_id", where="state = 'stacking'", unique=True
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    target: Mapped[str]
    folder: Mapped[str]
    exposure: Mapped[str]
    exposure_s: Mapped[float]
    filter: Mapped[str]
    start_at: Mapped[datetime]
    minutes: Mapped[int]
    utc_offset_min: Mapped[int]
    night: Mapped[str] = mapped_column(index=True)  # local date of the evening, YYYY-MM-DD

    frame_count: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default=BlockState.COLLECTING)
    reason: Mapped[str] = mapped_column(default="")
    requested: Mapped[bool] = mapped_column(
        default=False
    )  # a person asked for it: `stacking.when` does not hold it
    # There is a stack of it that we did not make, a person knows of it, and wants another all the same.
    is_wanted_again: Mapped[bool] = mapped_column(default=False, server_default=false())
    attempts: Mapped[int] = mapped_column(default=0)
    too_few_stars: Mapped[int] = mapped_column(default=0, server_default="0")  # tries that ended with 263
    next_attempt_at: Mapped[datetime | None]
    needs_you: Mapped[bool] = mapped_column(default=False, index=True)
    percent: Mapped[float | None]
    # What a start was about to do, recorded before it: {"files": […], "outputs_before": […], "fence": n}
    intent: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]
    frames_changed_at: Mapped[datetime | None]  # when a frame was last added to it
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
