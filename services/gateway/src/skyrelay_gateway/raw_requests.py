"""A person has a block's raw frames sent to the server's own stacker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from skyrelay.domain.states import BLOCK_STEPS, BlockState
from skyrelay.outbox.raw_route import frames_for_raw, send_raw, why_not_raw
from skyrelay.settings import CrowdSkySettings
from skyrelay.store.tables import Block, Telescope
from skyrelay_gateway.models import RawAnswer, RawRequest
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor


def ask_for_raw(
    session: Session, request: RawRequest, crowdsky: CrowdSkySettings, now: datetime
) -> RawAnswer:
    """Owe a block's raw frames; with ``dry_run`` only count them.

    Raises
    ------
    Problem
        404 for a block that is not there, 409 for one whose frames cannot be sent, or are not to be.
    """
    block = session.get(Block, request.block_id, with_for_update=True)
    if block is None:
        raise Problem(
            404, f"There is no block {request.block_id}.", "GET /api/v1/blocks lists what there is."
        )
    _check(block, crowdsky)
    frames = frames_for_raw(session, block)
    why_not = why_not_raw(session, block, session.get_one(Telescope, block.telescope_id), frames)
    if why_not is not None:
        raise Problem(409, f"The raw frames of block {block.id} cannot be sent: {why_not}.", _PUT_BACK)
    if not request.dry_run:
        send_raw(session, block, frames, now=now, actor=actor(), reason="asked for")
    return RawAnswer(
        dry_run=request.dry_run,
        block_id=block.id,
        frames=len(frames),
        size_bytes=sum(frame.size_bytes for frame in frames),
    )


_PUT_BACK = "Put right what it names, then ask again."


def _check(block: Block, crowdsky: CrowdSkySettings) -> None:
    if not crowdsky.enabled:
        raise Problem(409, "Nothing is sent to CrowdSky: crowdsky.enabled is false.", "Switch it on first.")
    if BlockState.RAW not in BLOCK_STEPS[BlockState(block.state)]:
        raise Problem(
            409,
            f"Block {block.id} is {block.state}: {block.reason or 'its frames cannot be sent raw now'}.",
            "A block goes by one route: its stack, or its raw frames.",
        )
