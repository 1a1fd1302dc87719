"""What scripts and commands had stacked, outside the services' pipeline. Written by `skyrelay.direct`.

Files on the telescope tell most of it by their names; this tells the rest: how long a block of a
legacy name was, which stack could not be renamed yet, and what an interrupted run was about to do.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class ScriptedStack(Base):
    """One block that a script gave to the telescope; ``stacked_at`` is null until its stack was found.

    ``start_at`` is the UTC start of the block, ``first_start_at`` and ``last_start_at`` the UTC starts of
    the first and the last frame given.
    """

    __tablename__ = "scripted_stacks"
    __table_args__ = (
        UniqueConstraint(
            "telescope_id",
            "target",
            "exposure",
            "filter",
            "start_at",
            "minutes",
            name="uq_scripted_stacks_block",  # the usual name would be longer than PostgreSQL's 63 bytes
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    target: Mapped[str]  # as the frames' names have it
    folder: Mapped[str]  # of the stacks
    exposure: Mapped[str]
    filter: Mapped[str]
    start_at: Mapped[datetime]
    minutes: Mapped[int]
    files: Mapped[list[str]]  # the frames given
    outputs_before: Mapped[list[str]]  # what lay in the folder: the owner's
    first_start_at: Mapped[datetime]
    last_start_at: Mapped[datetime]
    begun_at: Mapped[datetime]
    stacked_at: Mapped[datetime | None]
    original_name: Mapped[str | None]  # DSO_Stacked_…
    crowdsky_name: Mapped[str | None]  # what it is, or is to be, called
    frames_aligned: Mapped[int | None]
    renamed_at: Mapped[datetime | None]
    rename_error: Mapped[str | None]
