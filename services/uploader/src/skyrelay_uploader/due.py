"""What is due now: the questions that the reconciler asks, and whoever has just finished something."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import OWED_DELIVERIES, BlockState, DeliveryKind, DeliveryState
from skyrelay.outbox.due import is_due
from skyrelay.store.tables import Block, Delivery, Destination, Stack
from skyrelay.store.tables.destinations import ARCHIVE, CLOUD, CROWDSKY


def due_fetches(session: Session, now: datetime, most: int) -> list[int]:
    """Give stacks that are to be fetched now, those that have waited longest first."""
    query = select(Stack.id).where(is_to_fetch(now), ~is_archive_paused(now))
    return list(
        session.scalars(query.order_by(Stack.next_fetch_at.asc().nulls_first(), Stack.id).limit(most))
    )


def due_deliveries(session: Session, now: datetime, most: int) -> list[int]:
    """Give deliveries that are to be sent now, or asked after, those that have waited longest first."""
    query = (
        select(Delivery.id)
        .outerjoin(Stack, Stack.id == Delivery.stack_id)
        .where(is_to_deliver(now), or_(Delivery.kind == DeliveryKind.RAW, Stack.fetched_at.is_not(None)))
        .order_by(Delivery.next_attempt_at.asc().nulls_first(), Delivery.id)
    )
    return list(session.scalars(query.limit(most)))


def is_to_fetch(now: datetime) -> ColumnElement[bool]:
    """Say which stacks are not fetched, not being fetched, and have waited out their delay."""
    return and_(
        Stack.fetched_at.is_(None),
        Stack.is_offered.is_(False),  # another tool's, which nobody has wanted sent so far
        or_(Stack.fetch_lease_until.is_(None), Stack.fetch_lease_until <= now),
        or_(Stack.next_fetch_at.is_(None), Stack.next_fetch_at <= now),
    )


def is_archive_paused(now: datetime) -> ColumnElement[bool]:
    """Say whether the archive's disk is full, as far as is known now."""
    full = (Destination.name == ARCHIVE, Destination.paused_reason.is_not(None))
    return exists().where(*full, Destination.next_probe_at > now)


def is_to_deliver(now: datetime) -> ColumnElement[bool]:
    """Say which deliveries to CrowdSky wait, are in nobody's hands, and have waited out their delay.

    A block's raw frames are sent only while it is on the raw route.
    """
    is_raw = exists().where(Block.id == Delivery.block_id, Block.state == BlockState.RAW)
    of_kind = or_(is_due(DeliveryKind.STACK, now), and_(is_due(DeliveryKind.RAW, now), is_raw))
    return and_(Delivery.destination == CROWDSKY, of_kind)


def uploads_under_way(session: Session, now: datetime) -> int:
    """Count the deliveries to CrowdSky that some uploader has in its hands, in whichever process."""
    query = select(func.count()).where(Delivery.destination == CROWDSKY, Delivery.lease_until > now)
    return session.scalar(query) or 0


def is_unlisted() -> ColumnElement[bool]:
    """Say which deliveries the server may have, and does not list so far."""
    return and_(
        Delivery.destination == CROWDSKY,
        or_(
            Delivery.state == DeliveryState.ACCEPTED,
            and_(Delivery.state == DeliveryState.RETRYING, Delivery.ask_first.is_(True)),
        ),
    )


def is_confirmation_due(session: Session, now: datetime) -> bool:
    """Tell whether an accepted delivery is to be looked for in the server's list."""
    query = select(Delivery.id).where(
        Delivery.destination == CROWDSKY,
        Delivery.state == DeliveryState.ACCEPTED,
        or_(Delivery.next_attempt_at.is_(None), Delivery.next_attempt_at <= now),
    )
    return session.scalar(query.limit(1)) is not None


def figures(session: Session) -> dict[str, int | str | None]:
    """Count what waits, for the heartbeat."""
    owed = select(func.count()).where(Delivery.state.in_(OWED_DELIVERIES))
    accepted = select(func.count()).where(Delivery.state == DeliveryState.ACCEPTED)
    dead = select(func.count()).where(Delivery.state == DeliveryState.DEAD)
    to_fetch = select(func.count()).where(Stack.fetched_at.is_(None), Stack.is_offered.is_(False))
    return {
        "pending": session.scalar(owed),
        "to_be_listed": session.scalar(accepted),
        "dead": session.scalar(dead),
        "to_fetch": session.scalar(to_fetch),
        "paused": _pause_of(session, CROWDSKY),
        "cloud_paused": _pause_of(session, CLOUD),
        "archive_paused": _pause_of(session, ARCHIVE),
    }


def _pause_of(session: Session, name: str) -> str | None:
    return session.scalar(select(Destination.paused_reason).where(Destination.name == name))
