"""Wait until deliveries have come as far as somebody wants them, whoever sends them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryState
from skyrelay.outbox.due import SENDABLE
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Destination, Stack
from skyrelay.store.tables.destinations import CROWDSKY

_PATIENCE = timedelta(seconds=30)  # for what is to be tried again; a server that is away longer is for later
_PORTION = 500  # of ids in one question: SQLite takes no more than some tens of thousands


@dataclass(frozen=True, slots=True)
class Standing:
    """How a delivery stands; ``is_at_hand``: what it sends need not be fetched first."""

    state: DeliveryState
    reason: str
    needs_you: bool
    next_attempt_at: datetime | None
    is_in_hand: bool
    is_at_hand: bool
    server_chunk_key: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The deliveries, and how far they are to come.

    Attributes
    ----------
    until
        ``ACCEPTED``: the server has said that it took them; ``CONFIRMED``: it lists them.
    """

    ids: Collection[int]
    until: DeliveryState = DeliveryState.ACCEPTED

    def has_come(self, standing: Standing) -> bool:
        """Tell whether a delivery is where it is wanted."""
        is_taken = standing.state is DeliveryState.ACCEPTED and self.until is DeliveryState.ACCEPTED
        return is_taken or standing.state is DeliveryState.CONFIRMED

    def is_over(self, standing: Standing) -> bool:
        """Tell whether there is nothing more to wait for: it has come, or needs a person."""
        is_unlisted = standing.state is DeliveryState.ACCEPTED and standing.needs_you
        return self.has_come(standing) or is_unlisted or standing.state is DeliveryState.DEAD


def look(store: Store, ids: Collection[int], now: datetime) -> Mapping[int, Standing]:
    """Tell how deliveries stand."""
    in_order = sorted(ids)
    found: dict[int, Standing] = {}
    with store.read() as session:
        for first in range(0, len(in_order), _PORTION):
            some = Delivery.id.in_(in_order[first : first + _PORTION])
            query = select(Delivery, Stack.fetched_at).outerjoin(Stack, Stack.id == Delivery.stack_id)
            for row, fetched_at in session.execute(query.where(some)):
                found[row.id] = _standing(row, now, is_at_hand=row.stack_id is None or fetched_at is not None)
    return found


def held_up(store: Store, wanted: Wanted, now: datetime) -> str | None:
    """Say why it is of no use to wait any longer; empty when all are where they are to be, `None` to wait.

    Parameters
    ----------
    now
        Aware time.
    """
    open_ones = [each for each in look(store, wanted.ids, now).values() if not wanted.is_over(each)]
    if not open_ones:
        return ""
    if any(each.is_in_hand or each.state is DeliveryState.ACCEPTED for each in open_ones):
        return None
    waiting = [each for each in open_ones if each.state in SENDABLE]
    at_hand = [each for each in waiting if each.is_at_hand]
    if waiting and not at_hand:
        return "what is left is still on its telescope: the services fetch it, and send it then"
    with store.read() as session:
        return _hold_up(session, at_hand, now)


def _hold_up(session: Session, waiting: list[Standing], now: datetime) -> str | None:
    row = session.get(Destination, CROWDSKY)
    probe_at = row.next_probe_at if row is not None else None
    will_be_probed = probe_at is not None and probe_at - now <= _PATIENCE
    if row is not None and row.paused_reason is not None and not will_be_probed:
        return f"deliveries to {CROWDSKY} are paused: {row.paused_reason}"
    earliest = min((each.next_attempt_at or now for each in waiting), default=now)
    if max(earliest, probe_at or now) - now <= _PATIENCE:
        return None
    why = (row.trouble if row is not None else None) or next((each.reason for each in waiting), "")
    return f"nothing more can be sent for now: {why}"


def _standing(row: Delivery, now: datetime, *, is_at_hand: bool) -> Standing:
    return Standing(
        state=DeliveryState(row.state),
        reason=row.reason,
        needs_you=row.needs_you,
        next_attempt_at=row.next_attempt_at,
        is_in_hand=row.lease_until is not None and row.lease_until > now,
        is_at_hand=is_at_hand,
        server_chunk_key=row.server_chunk_key,
    )
