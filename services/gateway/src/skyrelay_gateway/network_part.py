"""What a page shows of the observation network: interrupts that wait for a person, and the plan."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import HandOverState
from skyrelay.settings import Settings
from skyrelay.store.tables import CloudInterrupt
from skyrelay_gateway.models import View
from skyrelay_gateway.network import (
    InterruptView,
    PlanItemView,
    PlanView,
    interrupt_view,
    is_over,
    plan_view,
    present_plan,
)

_SHOWN_FOR = timedelta(days=1)  # an interrupt that never expires
_MOST_INTERRUPTS = 5


class NetworkPart(View):
    """For ``templates/parts/network.html``, which shows nothing where there is nothing to show.

    ``may_run``: the network is switched on, so that what is asked for is seen to.
    """

    may_run: bool
    interrupts: tuple[InterruptView, ...]
    plan: PlanView | None

    @property
    def good_items(self) -> tuple[PlanItemView, ...]:
        """The plan's items that can be observed."""
        return tuple(item for item in self.plan.items if not item.reason) if self.plan else ()


def network_part(session: Session, settings: Settings, now: datetime) -> NetworkPart:
    """Gather what a page shows of the network.

    Parameters
    ----------
    now
        Aware time.
    """
    return NetworkPart(
        may_run=settings.cloud.enabled and bool(settings.cloud.url),
        interrupts=tuple(interrupt_view(each, now) for each in _open_interrupts(session, now)),
        plan=_current_plan(session, settings, now),
    )


def _current_plan(session: Session, settings: Settings, now: datetime) -> PlanView | None:
    """Give the plan, unless it was withdrawn or the last of its items is over."""
    row = present_plan(session)
    if row is None or row.withdrawn_at is not None or is_over(row.night, now):
        return None
    view = plan_view(row, settings, now)
    return view if any(item.end_at is None or item.end_at > now for item in view.items) else None


def _open_interrupts(session: Session, now: datetime) -> list[CloudInterrupt]:
    """Give the interrupts that are not at the telescope and still can be, the latest first."""
    is_current = or_(
        CloudInterrupt.expires_at > now,
        CloudInterrupt.expires_at.is_(None) & (CloudInterrupt.received_at > now - _SHOWN_FOR),
    )
    query = select(CloudInterrupt).where(CloudInterrupt.run_state != HandOverState.HANDED_OVER, is_current)
    return list(session.scalars(query.order_by(CloudInterrupt.id.desc()).limit(_MOST_INTERRUPTS)))
