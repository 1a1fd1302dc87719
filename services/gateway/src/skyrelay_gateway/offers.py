"""Stacks that another tool made and that were found on a telescope: sent only if a person wants them sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BLOCK_MINUTES
from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import audit
from skyrelay_gateway.finding import find_telescope
from skyrelay_gateway.models import OfferAnswer, OfferRequest
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor


def take_up(session: Session, request: OfferRequest, now: datetime) -> OfferAnswer:
    """Owe the offered stacks that the request names to CrowdSky; with ``dry_run`` only count them.

    Raises
    ------
    Problem
        404 for a stack or telescope that is not there, 409 for a stack that is not offered.
    """
    offered = _offered(session, request)
    if not request.dry_run:
        for stack in offered:
            _owe(session, stack, now)
    return OfferAnswer(
        dry_run=request.dry_run, stacks=len(offered), names=tuple(stack.crowdsky_name for stack in offered)
    )


def count_offered(session: Session) -> tuple[int, int | None]:
    """Give how many stacks are offered, and the id of the only one."""
    ids = session.scalars(_offered_ids().limit(2)).all()
    if len(ids) < 2:
        return len(ids), next(iter(ids), None)
    return session.scalar(select(func.count()).select_from(_offered_ids().subquery())) or 0, None


def _offered_ids() -> Select[int]:
    query = select(Stack.id).join(Block, Block.id == Stack.block_id)
    return query.where(Stack.is_offered.is_(True), Block.minutes == BLOCK_MINUTES)


def _offered(session: Session, request: OfferRequest) -> Sequence[Stack]:
    query = (
        select(Stack)
        .join(Block, Block.id == Stack.block_id)
        .where(Stack.is_offered.is_(True), Block.minutes == BLOCK_MINUTES)
        .order_by(Stack.id)
    )
    if request.telescope is not None:
        query = query.where(Stack.telescope_id == find_telescope(session, request.telescope))
    if request.stack_id is not None:
        query = query.where(Stack.id == request.stack_id)
    found = session.scalars(query).all()
    if request.stack_id is not None and not found:
        _refuse(session, request.stack_id)
    return found


def _refuse(session: Session, stack_id: int) -> None:
    if session.get(Stack, stack_id) is None:
        raise Problem(404, f"There is no stack {stack_id}.", "GET /api/v1/stacks lists what there is.")
    raise Problem(
        409, f"Stack {stack_id} is not offered: it is sent already, or ours.", "There is nothing to do."
    )


def _owe(session: Session, stack: Stack, now: datetime) -> None:
    stack.is_offered = False
    session.add(
        Delivery(
            stack_id=stack.id,
            destination=CROWDSKY,
            state=DeliveryState.PENDING,
            reason="asked for; to be fetched from the telescope, then sent",
            created_at=now,
            updated_at=now,
        )
    )
    audit(session, now=now, actor=actor(), subject=("stack", stack.id), event="asked for")
