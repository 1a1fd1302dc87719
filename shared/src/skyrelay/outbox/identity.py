"""What tells a delivery's stack from all others on the server."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.store.tables import Block, Delivery, Stack, Telescope


def identity_of(session: Session, delivery: Delivery) -> StackIdentity:
    """Give what tells a delivery's stack from all others on the server."""
    query = (
        select(Stack, Telescope.serial, Block.filter)
        .join_from(Stack, Telescope)
        .join(Block, Block.id == Stack.block_id)
    )
    stack, serial, filter_name = session.execute(query.where(Stack.id == delivery.stack_id)).one()
    keys = {stack.chunk_key, delivery.server_chunk_key}
    return StackIdentity(
        telescope_serial=serial or "",
        filter_name=filter_name,
        first_start_at=stack.first_start_at,
        last_start_at=stack.last_start_at if stack.knows_frames else None,
        chunk_keys=frozenset(key for key in keys if key is not None),
        total_exptime_s=stack.exposure_total_s,
    )
