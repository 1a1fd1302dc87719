"""Which of the stacks in the books is the one that a file holds."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.matching import TOLERANCE, StackIdentity
from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay.store.tables.destinations import CROWDSKY

_SAME_EXPTIME_S = 0.5


def find_stack(session: Session, identity: StackIdentity) -> Stack | None:
    """Give the stack with that telescope, filter, start and total exposure; `None` when there is none.

    Of several, the one that is on its way to the server, or there, goes first.
    """
    is_it = _is_it(identity)
    if is_it is None:
        return None
    query = (
        select(Stack)
        .join(Block, Block.id == Stack.block_id)
        .join(Telescope, Telescope.id == Stack.telescope_id)
        .outerjoin(Delivery, and_(Delivery.stack_id == Stack.id, Delivery.destination == CROWDSKY))
        .where(is_it)
        .order_by(Delivery.id.is_(None), Delivery.state == DeliveryState.DEAD, Stack.id)
    )
    return session.scalar(query.limit(1))


def delivery_of(session: Session, stack: Stack) -> Delivery | None:
    """Give the delivery of a stack to CrowdSky."""
    is_its = (Delivery.stack_id == stack.id, Delivery.destination == CROWDSKY)
    return session.scalar(select(Delivery).where(*is_its))


def _is_it(identity: StackIdentity) -> ColumnElement[bool] | None:
    start, total_s = identity.first_start_at, identity.total_exptime_s
    if start is None or total_s is None:
        return None
    return and_(
        Telescope.serial == identity.telescope_serial.rpartition("_")[2],
        func.lower(Block.filter) == identity.filter_name.casefold(),
        Stack.first_start_at.between(start - TOLERANCE, start + TOLERANCE),
        func.abs(Stack.exposure_total_s - total_s) <= _SAME_EXPTIME_S,
    )
