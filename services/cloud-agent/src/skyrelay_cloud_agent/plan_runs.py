"""Plans that are to be run: asked for by a person over the gateway, or by ``cloud.auto_run_plans``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from skyrelay.domain.states import HandOverState
from skyrelay.errors import PermanentError
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudPlanRow
from skyrelay_cloud_agent.hand_overs import Order, Outcome, is_due, note_outcome, try_hand_over
from skyrelay_cloud_agent.plan_books import present_plan


class PlanRuns:
    """Sees to it that the plan which is to be run is handed over, or refused with a reason.

    Parameters
    ----------
    clock
        Gives the aware time.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings, self._store, self._clock = settings, store, clock

    def ask_for_new_plan(self, _items: list[Any]) -> None:
        """Have the plan that has just been written down run, if ``cloud.auto_run_plans`` says so."""
        if not self._settings.cloud.auto_run_plans:
            return
        with self._store.write() as session:
            row = present_plan(session)
            if row is not None and not row.run_state:
                row.run_asked_at, row.run_state = self._clock(), HandOverState.WAITING
                row.replace_running = False

    def run_what_waits(self) -> None:
        """Try to hand over the present plan, if that is due."""
        now = self._clock()
        with self._store.read() as session:
            row = present_plan(session)
        if row is None or not is_due(row, now):
            return
        outcome = self._run(row, now)
        with self._store.write() as session:
            note_outcome(session, row, "plan", outcome, self._clock())

    def _run(self, row: CloudPlanRow, now: datetime) -> Outcome:
        if row.withdrawn_at is not None:
            return Outcome(HandOverState.REFUSED, error=PermanentError("the cloud has withdrawn it"))
        name = f"{row.night} {row.plan_id} v{row.version}"
        order = Order(name, row.night, row.items, row.replace_running)
        return try_hand_over(self._settings, self._store, order, now)
