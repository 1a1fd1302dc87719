"""Send certain deliveries now, in the process of a command: what the worker does, without queue and broker.

A command that a person typed sends although the set-up is not finished and CrowdSky is switched off for the
services (they stay so). All other rules are the worker's: leases, the account, quiet hours, the bandwidth.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import select

from skyrelay.domain.states import DeliveryKind
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.due import is_lost
from skyrelay.outbox.waiting import Wanted, held_up
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery
from skyrelay_uploader.confirming import confirm_deliveries
from skyrelay_uploader.delivering import deliver
from skyrelay_uploader.due import due_deliveries
from skyrelay_uploader.settling import book_lost
from skyrelay_uploader.workshop import UPLOADS_AT_ONCE, Workshop

_TURN_S = 0.5  # between two looks for what is due, where no send ends before
_ALL = 1_000_000  # far more deliveries than wait anywhere

_log = get_logger(__name__)


def drain(settings: Settings, store: Store, wanted: Wanted, on_turn: Callable[[], object]) -> str:
    """Send deliveries until all are where they are wanted, or it is of no use to go on; say why, or nothing.

    Parameters
    ----------
    on_turn
        Called again and again, to show how far it is.

    Raises
    ------
    Exception
        Whatever a fault of ours raises in a send.
    """
    crowdsky = settings.crowdsky.model_copy(update={"enabled": True})
    asked = settings.model_copy(update={"setup": "done", "crowdsky": crowdsky})
    workshop = Workshop(asked, store, say=lambda *_: None)
    senders = _Senders(workshop)
    while True:
        senders.raise_what_failed()
        _take_up(workshop)
        on_turn()
        if (reason := _reason_to_end(workshop, wanted, senders)) is not None:
            return reason
        for delivery_id in _due(workshop, wanted):
            senders.send(delivery_id)
        confirm_deliveries(workshop)  # asks the server only when one is due
        senders.wait(_TURN_S)


def _reason_to_end(workshop: Workshop, wanted: Wanted, senders: _Senders) -> str | None:
    if senders.are_busy:
        return None
    reason = held_up(workshop.store, wanted, workshop.clock())
    until = workshop.quiet_until()
    if reason is None and until is not None and _due(workshop, wanted):
        return f"crowdsky.quiet_hours: nothing is sent before {until:%H:%M} UTC"
    return reason


def _take_up(workshop: Workshop) -> None:
    now = workshop.clock()
    with workshop.store.write() as session:
        accounts.resume_if_changed(session, workshop.crowdsky_account(), now)
        lost = select(Delivery).where(Delivery.kind == DeliveryKind.STACK, is_lost(now))
        for delivery in session.scalars(lost.with_for_update()):
            book_lost(session, delivery, now)
            _log.warning("a send was cut off: the server is asked first", delivery_id=delivery.id)


def _due(workshop: Workshop, wanted: Wanted) -> list[int]:
    ours = frozenset(wanted.ids)
    with workshop.store.read() as session:
        return [id_ for id_ in due_deliveries(session, workshop.clock(), _ALL) if id_ in ours]


class _Senders:
    """As many threads as there may be uploads at once; the process may end without them (Ctrl-C)."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._under_way: dict[int, threading.Thread] = {}
        self._failures: list[Exception] = []
        self._one_ended = threading.Event()

    @property
    def are_busy(self) -> bool:
        """Whether one of them sends."""
        self._under_way = {id_: thread for id_, thread in self._under_way.items() if thread.is_alive()}
        return bool(self._under_way)

    def send(self, delivery_id: int) -> None:
        """Send a delivery, unless all are busy."""
        if self.are_busy and (delivery_id in self._under_way or len(self._under_way) >= UPLOADS_AT_ONCE):
            return
        thread = threading.Thread(target=self._send, args=(delivery_id,), name="sender", daemon=True)
        self._under_way[delivery_id] = thread
        thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until one has ended, or so long."""
        self._one_ended.wait(seconds)
        self._one_ended.clear()

    def raise_what_failed(self) -> None:
        """Raise what a send has raised."""
        if self._failures:
            raise self._failures[0]

    def _send(self, delivery_id: int) -> None:
        try:
            deliver(self._workshop, delivery_id)
        except Exception as error:  # noqa: BLE001 - it is raised where the command waits
            self._failures.append(error)
        finally:
            self._one_ended.set()
