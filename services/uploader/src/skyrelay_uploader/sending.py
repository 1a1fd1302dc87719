"""What every delivery to CrowdSky does before it is sent: it is looked for in the server's list, and begun.

The list costs little: it is had once for all that follow each other within a moment, and anew before whatever
was sent before, or is the first to an account that is not known to work. It finds what came there by another
way, and a wrong password or a server that is away before 12 MB have been sent to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.matching import is_likely
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.domain.states import DeliveryState
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.identity import Found, find_delivery, identities_of
from skyrelay.outbox.leases import LEASE
from skyrelay.outbox.outcomes import Outcome, has_waited_enough
from skyrelay.outbox.settling import book_unsent
from skyrelay.store.tables import Delivery
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState, move_delivery
from skyrelay_uploader.settling import book_found, book_wait, give_up_unsure
from skyrelay_uploader.workshop import ACTOR, Workshop

_log = get_logger(__name__)

# Judges a delivery that is not in the list: tells whether it is settled by what the list says all the same.
Judge = Callable[[Session, Delivery, Sequence[ServerStack], datetime], bool]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery as it was claimed.

    Attributes
    ----------
    state
        Pending: it was never sent, or a person wants it sent again. Retrying: by itself.
    sent_at
        When it was sent last; `None` if never.
    is_probe
        It is the only one that may go now: the account is not known to work.
    ids
        What its log lines are bound to.
    """

    delivery_id: int
    state: DeliveryState
    attempts: int
    ask_first: bool
    sent_at: datetime | None
    is_probe: bool
    account: Account
    ids: Mapping[str, object]

    def given(self, ids: Mapping[str, object]) -> dict[str, Any]:
        """Give all of it for a parcel of a certain kind, bound to more ids."""
        fields = ("delivery_id", "state", "attempts", "ask_first", "sent_at", "is_probe", "account")
        return {name: getattr(self, name) for name in fields} | {"ids": {**self.ids, **ids}}

    @property
    def is_unsure(self) -> bool:
        """Whether the server may have it, and nobody has decided that it is to be sent all the same."""
        return self.ask_first and self.state is DeliveryState.RETRYING and self.sent_at is not None

    @property
    def is_first(self) -> bool:
        """Whether it was never sent, and nobody has decided that it is to be sent whatever the list says."""
        return self.sent_at is None and not self.ask_first


def look(workshop: Workshop, parcel: Parcel, client: CrowdSkyClient, judge: Judge | None = None) -> bool:
    """Look for a delivery in the server's list; tell whether it is to be sent.

    Raises
    ------
    skyrelay.errors.SkyrelayError
        If there is no list to be had: then it is not known what the server has.
    StaleState
        If the delivery is in other hands by now.
    """
    now = workshop.clock()
    must_ask = parcel.is_probe or parcel.sent_at is not None
    rows = None if must_ask else workshop.server_list.recent(parcel.account, now)
    was_asked = rows is None
    if rows is None:
        rows = workshop.server_list.ask(client, parcel.account, now)
    with workshop.store.write() as session:
        if was_asked:
            accounts.note_listing(session, CROWDSKY, now)
        delivery = still_claimed(session, parcel)
        found = find_delivery(session, delivery, rows)
        if _is_settled_by(workshop, session, delivery, parcel, found, now):
            return False
        return judge is None or not judge(session, delivery, rows, now)


def _is_settled_by(
    workshop: Workshop, session: Session, delivery: Delivery, parcel: Parcel, found: Found, now: datetime
) -> bool:
    crowdsky = workshop.settings.crowdsky
    if found.rows:
        book_found(session, delivery, found.rows, now)
    elif parcel.is_unsure and parcel.sent_at is not None:
        if not has_waited_enough(parcel.sent_at, now, crowdsky.confirm_after_h):
            book_wait(delivery, parcel.sent_at, crowdsky, now)
        elif found.may_be is not None:
            give_up_unsure(session, delivery, now)
        else:
            return False
    elif parcel.is_first and _is_told(session, delivery, found):
        give_up_unsure(session, delivery, now)
    else:
        return False
    return True


def _is_told(session: Session, delivery: Delivery, found: Found) -> bool:
    """Tell whether a row speaks for itself that it may be this delivery's, and too little to be sure."""
    row = found.may_be
    return row is not None and any(is_likely(row, each) for each in identities_of(session, delivery))


def begin(
    workshop: Workshop,
    parcel: Parcel,
    reason: str = "being sent",
    check: Callable[[Delivery], None] = lambda _: None,
) -> datetime:
    """Take the step to ``sending``; the time of it is what a later write is checked against.

    Parameters
    ----------
    check
        Raises `StaleState` if the delivery is not as the caller left it.
    """
    now = workshop.clock()
    with workshop.store.write() as session:
        delivery = still_claimed(session, parcel)
        check(delivery)
        move_delivery(
            session,
            delivery,
            DeliveryState.SENDING,
            now=now,
            actor=ACTOR,
            reason=reason,
            sent_at=now,
            lease_until=now + LEASE,
            next_attempt_at=None,
            ask_first=False,
        )
    return now


def book_held_up(workshop: Workshop, parcel: Parcel, outcome: Outcome, reason: str) -> None:
    """Write down what went wrong before a send was begun.

    Where another has the delivery by now it is the account's matter alone: a failure that comes late says
    nothing about what has been done with the delivery since.
    """
    now = workshop.clock()
    with workshop.store.write() as session:
        try:
            delivery = still_claimed(session, parcel)
        except StaleState as error:
            accounts.note_outcome(session, parcel.account, outcome, reason, now, listing=True)
            _log.info("the delivery is in other hands now", reason=str(error))
            return
        book_unsent(session, parcel.account, delivery, outcome, reason, now)
    _log.warning("a stack was not delivered", problem=reason, outcome=type(outcome).__name__)


def still_claimed(session: Session, parcel: Parcel) -> Delivery:
    """Give a delivery's row, locked, as long as it is as it was claimed.

    Raises
    ------
    StaleState
        If it is not.
    """
    delivery = session.get_one(Delivery, parcel.delivery_id, with_for_update=True)
    if delivery.state != parcel.state or delivery.sent_at != parcel.sent_at:
        raise StaleState(f"delivery {parcel.delivery_id} is no longer as it was claimed")
    return delivery
