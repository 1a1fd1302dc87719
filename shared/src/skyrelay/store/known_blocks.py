"""The block of a span in the books, by what it is: not by how a name or a header happens to spell that."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BlockKey
from skyrelay.domain.coverage import same_exposure
from skyrelay.store.tables import Block


def block_of(session: Session, telescope_id: int, key: BlockKey) -> Block | None:
    """Give a telescope's block of a span, target, filter and exposure; `None` when there is none.

    ``10s`` is ``10.0s``, and ``ircut`` is ``IRCUT``: names and headers of several programs differ in that.
    """
    query = select(Block).where(
        Block.telescope_id == telescope_id,
        Block.target == key.target,
        Block.start_at == key.start,
        Block.minutes == key.minutes,
    )
    return next((block for block in session.scalars(query.order_by(Block.id)) if _is_same(block, key)), None)


def _is_same(block: Block, key: BlockKey) -> bool:
    is_filter = block.filter.casefold() == key.filter.casefold()
    return is_filter and same_exposure(block.exposure, key.exposure)
