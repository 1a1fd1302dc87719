"""Which deliveries are due: the conditions that claims and questions share."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.store.tables import Delivery

SENDABLE = frozenset({DeliveryState.PENDING, DeliveryState.RETRYING})


def is_due(kind: DeliveryKind, now: datetime) -> ColumnElement[bool]:
    """Say which deliveries of a kind wait, are in nobody's hands, and have waited out their delay."""
    return and_(
        Delivery.kind == kind,
        Delivery.state.in_(SENDABLE),
        or_(Delivery.lease_until.is_(None), Delivery.lease_until <= now),
        or_(Delivery.next_attempt_at.is_(None), Delivery.next_attempt_at <= now),
    )


def is_lost(now: datetime) -> ColumnElement[bool]:
    """Say which sends were cut off: whoever sent them let the lease run out."""
    return and_(
        Delivery.state == DeliveryState.SENDING,
        or_(Delivery.lease_until.is_(None), Delivery.lease_until <= now),
    )
