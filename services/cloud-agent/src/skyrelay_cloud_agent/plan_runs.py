"""Plans that are to be run: asked for by a person over the gateway, or by ``cloud.auto_run_plans``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from skyrelay.domain.observing_plan import Verdict, judge_plan
from skyrelay.errors import PermanentError, RefusedByRule, SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudPlanRow
from skyrelay.store.transitions import audit
from skyrelay_cloud_agent.handing_over import choose_telescope, hand_over, site_of, today
from skyrelay_cloud_agent.node import ACTOR
from skyrelay_cloud_agent.plan_books import present_plan

WAITING, HANDED_OVER, REFUSED = "waiting", "handed over", "refused"
_LOOK = timedelta(seconds=2)  # at one row of our own database
_ASK_AGAIN = timedelta(seconds=30)  # a telescope that is busy or away
_INTERRUPT_MINUTES = 20  # the cloud does not say for how long
_INTERRUPT_EXPOSURE_S = 10.0

_log = get_logger(__name__)


class PlanRuns:
    """Sees to it that what is to be run is handed over, or refused with a reason.

    Parameters
    ----------
    clock
        Gives the aware time.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._not_before: datetime | None = None

    def ask_for_new_plan(self, _items: list[Any]) -> None:
        """Have the plan that has just been written down run, if ``cloud.auto_run_plans`` says so."""
        if not self._settings.cloud.auto_run_plans:
            return
        with self._store.write() as session:
            row = present_plan(session)
            if row is not None and not row.run_state:
                row.run_asked_at, row.run_state, row.replace_running = self._clock(), WAITING, False

    def take_interrupt(self, interrupt: dict[str, Any]) -> None:
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
        now, zone = self._clock(), self._settings.site_zone
        night, row = today(now, zone), choose_telescope(self._store, self._settings)
        verdicts = self._judge([self._as_item(interrupt, now)], night.isoformat(), now)
        name = f"interrupt {interrupt['id']} {interrupt.get('name')}"[:100]
        hand_over(self._store, row, name, night, verdicts, now=now, fallback_zone=zone, replace_running=False)

    def turn(self) -> timedelta:
        """Do what is due; give how long to wait then."""
        try:
            self._run_what_waits()
        except Exception:  # noqa: BLE001 - a fault of ours must not end the next plan's run; the log has it
            _log.exception("a plan could not be seen to")
        return _LOOK

    def _run_what_waits(self) -> None:
        now = self._clock()
        with self._store.read() as session:
            row = present_plan(session)
        if row is None or row.run_state != WAITING:
            self._not_before = None
            return
        is_asked_anew = self._not_before is not None and (
            row.run_at is None or row.run_at < (row.run_asked_at or now)
        )
        if self._not_before is None or now >= self._not_before or is_asked_anew:
            self._run(row, now)

    def _run(self, row: CloudPlanRow, now: datetime) -> None:
        verdicts = self._judge(row.items, row.night, now)
        name = ""
        try:
            telescope = choose_telescope(self._store, self._settings)
            name = telescope.name
            _check_in_force(row)
            hand_over(
                self._store,
                telescope,
                f"{row.night} {row.plan_id} v{row.version}"[:100],
                _night(row.night, today(now, self._settings.site_zone)),
                verdicts,
                now=now,
                fallback_zone=self._settings.site_zone,
                replace_running=row.replace_running,
            )
        except (RefusedByRule, PermanentError) as error:
            self._note(row, REFUSED, str(error), name, verdicts)
        except SkyrelayError as error:  # away, busy, or maybe done: what it works on is asked first next time
            self._note(row, WAITING, str(error), name, verdicts)
            self._not_before = now + _ASK_AGAIN
        else:
            self._note(row, HANDED_OVER, "", name, verdicts)

    def _note(
        self, row: CloudPlanRow, state: str, reason: str, telescope: str, verdicts: list[Verdict]
    ) -> None:
        now = self._clock()
        with self._store.write() as session:
            current = session.get_one(CloudPlanRow, row.id)
            if current.run_state != WAITING or current.run_asked_at != row.run_asked_at:
                return  # it was asked for anew meanwhile
            if (current.run_state, current.run_reason) != (state, reason):
                audit(
                    session,
                    now=now,
                    actor=ACTOR,
                    subject=("plan", row.id),
                    event=f"run: {state}",
                    reason=reason,
                )
            current.run_state, current.run_reason, current.run_at = state, reason, now
            current.telescope = telescope
            current.verdicts = [{"target": each.target, "reason": each.reason} for each in verdicts]

    def _judge(self, items: list[Any], night: str, now: datetime) -> list[Verdict]:
        return judge_plan(
            items,
            night,
            zone=self._settings.site_zone,
            site=site_of(self._settings),
            now=now,
            min_altitude_deg=self._settings.cloud.min_altitude,
        )

    def _as_item(self, interrupt: dict[str, Any], now: datetime) -> dict[str, Any]:
        ra_deg = interrupt.get("ra_deg")
        is_number = isinstance(ra_deg, int | float) and not isinstance(ra_deg, bool)
        return {
            "target": interrupt.get("name"),
            "ra": ra_deg / 15.0 if is_number and ra_deg is not None else None,
            "dec": interrupt.get("dec_deg"),
            "expDur": _INTERRUPT_EXPOSURE_S,
            "expCount": int(_INTERRUPT_MINUTES * 60 / _INTERRUPT_EXPOSURE_S),
            "startTime": now.astimezone(self._settings.site_zone).strftime("%H:%M"),
        }


def _check_in_force(row: CloudPlanRow) -> None:
    if row.withdrawn_at is not None:
        raise PermanentError("the cloud has withdrawn it")


def _night(text: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return otherwise  # each item is refused for it
