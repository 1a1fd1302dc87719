"""A try to hand something over to the telescope that plans are for, and what the books say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast

from sqlalchemy.orm import Session

from skyrelay.domain.observing_plan import Verdict, judge_plan
from skyrelay.domain.states import HandOverState
from skyrelay.errors import PermanentError, RefusedByRule, SkyrelayError
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow
from skyrelay.store.transitions import audit
from skyrelay_cloud_agent.handing_over import AnotherPlanRuns, choose_telescope, hand_over, site_of, today
from skyrelay_cloud_agent.node import ACTOR

_ASK_AGAIN = timedelta(seconds=30)  # a telescope that is busy or away

Row = CloudPlanRow | CloudInterrupt


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be handed over.

    Attributes
    ----------
    name
        At the telescope: one that works on it already has it.
    night
        Local date of the evening, as the cloud writes it.
    items
        As the cloud gives those of plans.
    """

    name: str
    night: str
    items: Sequence[Any]
    replace_running: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try; ``error`` says why it is not there."""

    state: HandOverState
    telescope: str = ""
    error: SkyrelayError | None = None
    verdicts: Sequence[Verdict] = ()

    @property
    def can_replace(self) -> bool:
        """Whether only the plan that runs stands in its way: a person may have that replaced."""
        return isinstance(self.error, AnotherPlanRuns)


def is_due(row: Row, now: datetime) -> bool:
    """Tell whether something that waits is to be tried now: it was asked for just now, or has waited."""
    if row.run_state != HandOverState.WAITING:
        return False
    if row.run_at is None or row.run_asked_at is None or row.run_at <= row.run_asked_at:
        return True
    return now >= row.run_at + _ASK_AGAIN


def try_hand_over(settings: Settings, store: Store, order: Order, now: datetime) -> Outcome:
    """Hand something over, or say why not: for now, or for good."""
    verdicts, name = _judge(settings, order, now), ""
    try:
        telescope = choose_telescope(store, settings)
        name = telescope.name
        hand_over(
            store,
            telescope,
            order.name[:100],
            _night(order.night, today(now, settings.site_zone)),
            verdicts,
            now=now,
            fallback_zone=settings.site_zone,
            replace_running=order.replace_running,
        )
    except (RefusedByRule, PermanentError) as error:
        return Outcome(HandOverState.REFUSED, name, error, verdicts)
    except SkyrelayError as error:  # away, busy, or maybe done: what it works on is asked first next time
        return Outcome(HandOverState.WAITING, name, error, verdicts)
    return Outcome(HandOverState.HANDED_OVER, name, None, verdicts)


def note_outcome(session: Session, row: Row, kind: str, outcome: Outcome, now: datetime) -> None:
    """Write down what came of a try, unless it was asked for anew meanwhile."""
    current = cast("Row", session.get_one(type(row), row.id, with_for_update=True))
    if current.run_state != HandOverState.WAITING or current.run_asked_at != row.run_asked_at:
        return
    reason = str(outcome.error or "")
    if (current.run_state, current.run_reason) != (outcome.state, reason):
        event, subject = f"run: {outcome.state}", (kind, row.id)
        audit(session, now=now, actor=ACTOR, subject=subject, event=event, reason=reason)
    current.run_state, current.run_reason, current.run_at = outcome.state, reason, now
    current.can_replace, current.telescope = outcome.can_replace, outcome.telescope
    if isinstance(current, CloudPlanRow):
        current.verdicts = [{"target": each.target, "reason": each.reason} for each in outcome.verdicts]


def _judge(settings: Settings, order: Order, now: datetime) -> list[Verdict]:
    return judge_plan(
        list(order.items),
        order.night,
        zone=settings.site_zone,
        site=site_of(settings),
        now=now,
        min_altitude_deg=settings.cloud.min_altitude,
    )


def _night(text: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return otherwise  # each item is refused for it
