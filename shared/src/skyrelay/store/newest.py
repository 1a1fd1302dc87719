"""The stack that counts for a block: the one that was made last."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import aliased

from skyrelay.store.tables import Block, Stack


def is_newest_of_block() -> ColumnElement[bool]:
    """Say which stack to join with a block: none, or its newest."""
    other = aliased(Stack)
    newest = select(func.max(other.id)).where(other.block_id == Block.id).correlate(Block).scalar_subquery()
    return and_(Stack.block_id == Block.id, Stack.id == newest)
