"""Interrupts that are to be observed: a person asked for it over the gateway, or ``cloud.auto_run_plans``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import HandOverState
from skyrelay.errors import PermanentError, TransientError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudInterrupt
from skyrelay_cloud_agent.hand_overs import Order, Outcome, is_due, note_outcome, try_hand_over
from skyrelay_cloud_agent.handing_over import INTERRUPT, today

_MINUTES = 20  # the cloud does not say for how long
_EXPOSURE_S = 10.0

_log = get_logger(__name__)


class InterruptRuns:
    """Sees to it that interrupts which are to be observed are handed over, or refused with a reason.

    Parameters
    ----------
    clock
        Gives the aware time.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._one_try = threading.Lock()  # the polls and the turns are two threads

    def take(self, interrupt: Mapping[str, Any]) -> None:
        """Take an interrupt; with ``cloud.auto_run_plans`` it has to be at the telescope for that.

        Raises
        ------
        SkyrelayError
            If it is not: it is tried again until it expires.
        """
        _log.warning(
            "an interrupt of the network", name=interrupt.get("name"), reason=interrupt.get("reason")
        )
        if not self._settings.cloud.auto_run_plans:
            return
        with self._one_try:
            row = self._asked_for_by_itself(str(interrupt["id"]))
            if row.run_state != HandOverState.HANDED_OVER:
                outcome = self._try(row)
                if outcome.state is not HandOverState.HANDED_OVER:
                    raise outcome.error or TransientError("it is not at the telescope so far")

    def run_what_waits(self) -> None:
        """Try to hand over what is due."""
        now = self._clock()
        query = select(CloudInterrupt).where(CloudInterrupt.run_state == HandOverState.WAITING)
        with self._store.read() as session:
            waiting = session.scalars(query.order_by(CloudInterrupt.run_asked_at)).all()
        for row in waiting:
            if is_due(row, now):
                self._try_if_it_waits(row.id)

    def _try_if_it_waits(self, row_id: int) -> None:
        with self._one_try:
            with self._store.read() as session:
                row = session.get_one(CloudInterrupt, row_id)
            if is_due(row, self._clock()):
                self._try(row)

    def _asked_for_by_itself(self, number: str) -> CloudInterrupt:
        """Write down that an interrupt is to be observed, unless it is there or a person asked for it."""
        with self._store.write() as session:
            row = _row_of(session, self._settings.cloud.url, number)
            if row.run_state in {HandOverState.NOT_ASKED, HandOverState.REFUSED}:
                row.run_asked_at, row.run_state = self._clock(), HandOverState.WAITING
                row.replace_running = False
            return row

    def _try(self, row: CloudInterrupt) -> Outcome:
        outcome = self._run(row, self._clock())
        with self._store.write() as session:
            note_outcome(session, row, "interrupt", outcome, self._clock())
        return outcome

    def _run(self, row: CloudInterrupt, now: datetime) -> Outcome:
        if row.expires_at is not None and row.expires_at <= now:
            return Outcome(HandOverState.REFUSED, error=PermanentError("it has expired"))
        night = today(now, self._settings.site_zone).isoformat()
        name = f"{INTERRUPT}{row.number} {row.name}"
        order = Order(name, night, [self._as_item(row, now)], row.replace_running)
        return try_hand_over(self._settings, self._store, order, now)

    def _as_item(self, row: CloudInterrupt, now: datetime) -> dict[str, Any]:
        ra_deg = row.payload.get("ra_deg")
        is_number = isinstance(ra_deg, int | float) and not isinstance(ra_deg, bool)
        return {
            "target": row.payload.get("name"),
            "ra": ra_deg / 15.0 if is_number and ra_deg is not None else None,
            "dec": row.payload.get("dec_deg"),
            "expDur": _EXPOSURE_S,
            "expCount": int(_MINUTES * 60 / _EXPOSURE_S),
            "startTime": now.astimezone(self._settings.site_zone).strftime("%H:%M"),
        }


def _row_of(session: Session, cloud_url: str, number: str) -> CloudInterrupt:
    is_it = (CloudInterrupt.cloud_url == cloud_url, CloudInterrupt.number == number)
    return session.scalars(select(CloudInterrupt).where(*is_it)).one()
