"""One block and one delivery, each with all that happened to it."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from skyrelay.store.tables import Delivery, Stack
from skyrelay_gateway.audit_log import AuditView, history_of
from skyrelay_gateway.listings import block_deliveries, block_stacks, find_delivery, one_block
from skyrelay_gateway.models import BlockView, DeliveryView, StackView, View
from skyrelay_gateway.problems import Problem

_MOST_STEPS = 1000  # a block that made way for observations for a year has fewer


class BlockDetail(View):
    """A block, what was made of it, and ``history``: each step of it, its stacks and their deliveries."""

    block: BlockView
    stacks: tuple[StackView, ...]
    deliveries: tuple[DeliveryView, ...]
    history: tuple[AuditView, ...]


class DeliveryDetail(View):
    """A delivery, and each step that it took."""

    delivery: DeliveryView
    history: tuple[AuditView, ...]


def block_detail(session: Session, block_id: int) -> BlockDetail:
    """Give a block with its history, the earliest step first; raise a 404 `Problem` for none."""
    block = one_block(session, block_id)
    stacks = session.scalars(select(Stack.id).where(Stack.block_id == block_id)).all()
    is_of_block = or_(Delivery.stack_id.in_(stacks), Delivery.block_id == block_id)
    deliveries = session.scalars(select(Delivery.id).where(is_of_block)).all()
    subjects = (("block", [block_id]), ("stack", stacks), ("delivery", deliveries))
    return BlockDetail(
        block=block,
        stacks=block_stacks(session, block_id),
        deliveries=block_deliveries(session, block_id),
        history=history_of(session, subjects, _MOST_STEPS),
    )


def delivery_detail(session: Session, delivery_id: int) -> DeliveryDetail:
    """Give a delivery with its history, the earliest step first; raise a 404 `Problem` for none."""
    view = find_delivery(session, delivery_id)
    if view is None:
        raise no_delivery(delivery_id)
    history = history_of(session, [("delivery", [delivery_id])], _MOST_STEPS)
    return DeliveryDetail(delivery=view, history=history)


def no_delivery(delivery_id: int) -> Problem:
    """Build the 404 for a delivery that is not there."""
    return Problem(404, f"There is no delivery {delivery_id}.", "GET /api/v1/deliveries lists what there is.")
