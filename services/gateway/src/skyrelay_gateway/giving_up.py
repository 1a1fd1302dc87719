"""A person wants a delivery sent no more, or all that waits sent now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.store.tables import Block, Delivery, Destination, Stack
from skyrelay.store.transitions import audit, move_delivery
from skyrelay_gateway.details import no_delivery
from skyrelay_gateway.finding import check_target, find_telescope
from skyrelay_gateway.models import View
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor

_WAITING = (DeliveryState.PENDING, DeliveryState.RETRYING)
_PORTION = 400  # ids in one statement


class GiveUpRequest(BaseModel):
    """Why a delivery is sent no more."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"reason": "clouds came in"}]}
    )

    reason: str = Field(default="", max_length=500)


class UploadRequest(BaseModel):
    """What of that which waits to send now: a telescope's, a target's, or all."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"all": True, "dry_run": True}]}
    )

    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    target: str | None = Field(default=None, max_length=200)
    all: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if self.all == bool(self.telescope or self.target):
            raise ValueError("name a telescope and/or a target, or say all: true")
        return self


class UploadAnswer(View):
    """How many deliveries are tried now, or would be (``dry_run``); ``paused`` destinations take none."""

    dry_run: bool
    deliveries: int
    paused: dict[str, str]
    note: str | None


def give_up(session: Session, delivery_id: int, reason: str, now: datetime) -> None:
    """Let a delivery rest as dead; a retry brings it back. With a measurement its image rests too.

    Raises
    ------
    Problem
        404 for a delivery that is not there, 409 for one whose end is known or is being decided.
    """
    delivery = session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None:
        raise no_delivery(delivery_id)
    if (why_not := _why_not(delivery)) is not None:
        raise Problem(409, f"Delivery {delivery_id} {why_not[0]}.", why_not[1])
    for each in (delivery, *_followers(session, delivery)):
        _bury(session, each, reason, now)


def upload_now(session: Session, request: UploadRequest, now: datetime) -> UploadAnswer:
    """Make all due that waits, or (``dry_run``) only count it.

    Raises
    ------
    Problem
        404 for a telescope or target that is not there.
    """
    ids = session.scalars(select(Delivery.id).where(*_waiting(session, request))).all()
    if not request.dry_run and ids:
        _make_due(session, ids, now)
        reason = f"{len(ids)} deliveries"
        audit(
            session, now=now, actor=actor(), subject=("delivery", None), event="all asked for", reason=reason
        )
    paused = select(Destination.name, Destination.paused_reason).where(Destination.paused_reason.is_not(None))
    return UploadAnswer(
        dry_run=request.dry_run,
        deliveries=len(ids),
        paused={name: reason or "" for name, reason in session.execute(paused)},
        note=None,
    )


def _why_not(delivery: Delivery) -> tuple[str, str] | None:
    if delivery.state == DeliveryState.SENDING:
        return "is being sent right now", "Try again in a minute."
    if delivery.state == DeliveryState.CONFIRMED:
        return "has arrived: the server lists it", "There is nothing to do."
    if delivery.state == DeliveryState.ACCEPTED and not delivery.needs_you:
        return "was accepted by the server, which has yet to list it", "There is nothing to do."
    if delivery.state == DeliveryState.DEAD and delivery.given_up_at is not None:
        return "was given up already", "There is nothing to do."
    return None


def _followers(session: Session, delivery: Delivery) -> Sequence[Delivery]:
    """Give the image that would follow a measurement."""
    if delivery.kind != DeliveryKind.MEASUREMENT:
        return ()
    images = select(Delivery).where(
        Delivery.measurement_id == delivery.measurement_id,
        Delivery.kind == DeliveryKind.IMAGE,
        Delivery.state.in_(_WAITING),
    )
    return session.scalars(images).all()


def _bury(session: Session, delivery: Delivery, reason: str, now: datetime) -> None:
    words = f"given up: {reason}" if reason else "given up"
    at_rest: dict[str, Any] = {
        "needs_you": False,
        "next_attempt_at": None,
        "lease_until": None,
        "given_up_at": now,
    }
    if delivery.state != DeliveryState.DEAD:
        move_delivery(session, delivery, DeliveryState.DEAD, now=now, actor=actor(), reason=words, **at_rest)
        return
    for column, value in at_rest.items():
        setattr(delivery, column, value)
    delivery.reason, delivery.updated_at = f"{delivery.reason}; {words}".lstrip("; "), now
    audit(session, now=now, actor=actor(), subject=("delivery", delivery.id), event="given up", reason=reason)


def _waiting(session: Session, request: UploadRequest) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [Delivery.state.in_(_WAITING)]
    blocks = select(Block.id)
    if request.telescope is not None:
        blocks = blocks.where(Block.telescope_id == find_telescope(session, request.telescope))
    if request.target is not None:
        check_target(session, request.target)
        blocks = blocks.where(Block.target == request.target)
    stacks = select(Stack.id).where(Stack.block_id.in_(blocks))
    is_asked = or_(Delivery.stack_id.in_(stacks), Delivery.block_id.in_(blocks))
    return conditions if request.all else [*conditions, is_asked]


def _make_due(session: Session, ids: Sequence[int], now: datetime) -> None:
    for first in range(0, len(ids), _PORTION):
        some = ids[first : first + _PORTION]
        session.execute(update(Delivery).where(Delivery.id.in_(some)).values(next_attempt_at=now))
        stacks = select(Delivery.stack_id).where(Delivery.id.in_(some), Delivery.stack_id.is_not(None))
        session.execute(update(Stack).where(Stack.id.in_(stacks)).values(next_fetch_at=None))
