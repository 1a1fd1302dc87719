"""Runs: what a telescope was given to stack in one go, and what came of it. Written by the stacker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base, partial_index


class Run(Base):
    """From the first block that a telescope begins until nothing is left for it to do.

    ``summary`` has the keys of `skyrelay.direct.summaries.AllSummary`; it is null while the run goes on.
    """

    __tablename__ = "runs"
    __table_args__ = (
        partial_index("uq_runs_open_telescope_id", "telescope_id", where="ended_at IS NULL", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int] = mapped_column(ForeignKey("telescopes.id"))
    night: Mapped[str] = mapped_column(index=True)  # of its first block
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    summary: Mapped[dict[str, Any] | None]


class RunBlock(Base):
    """What became of one block in one run; a block that is tried again may be in several."""

    __tablename__ = "run_blocks"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    block_id: Mapped[int] = mapped_column(ForeignKey("blocks.id"), primary_key=True)
    status: Mapped[str]  # working | complete | fail | cancel | timeout | error | ready (it made way)
    stack_id: Mapped[int | None] = mapped_column(ForeignKey("stacks.id"))
    error: Mapped[str | None]
