"""What the books say of plans and interrupts; each function is one step inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.cloud.client import CloudPlan
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow
from skyrelay.store.transitions import audit
from skyrelay_cloud_agent.node import ACTOR


def present_plan(session: Session) -> CloudPlanRow | None:
    """Give the plan that was seen last; `None` before the first."""
    return session.scalar(select(CloudPlanRow).order_by(CloudPlanRow.id.desc()).limit(1))


def record_plan(session: Session, plan: CloudPlan | None, now: datetime) -> CloudPlanRow | None:
    """Write down what the cloud says; give the present plan if its callback is still to be told of it.

    Another ``plan_id`` is a new plan. Other items under the same one are a new version: kept and shown, but
    nobody is told a second time.
    """
    present = present_plan(session)
    if plan is None:
        if present is not None and present.withdrawn_at is None:
            present.withdrawn_at = now
        return None
    if present is None or present.plan_id != plan.plan_id:
        present = _add(session, plan, now, told_at=None)
    elif present.items != list(plan.items):
        present = _add(session, plan, now, told_at=present.told_at)
    present.withdrawn_at = None
    return present if present.told_at is None else None


def note_plan_told(session: Session, row_id: int, now: datetime) -> None:
    """Write down that the callback has taken a plan."""
    session.get_one(CloudPlanRow, row_id).told_at = now


def record_interrupt(
    session: Session, cloud_url: str, payload: Mapping[str, Any], now: datetime
) -> CloudInterrupt:
    """Write an interrupt down as it was seen; give its row."""
    number = str(payload["id"])
    query = select(CloudInterrupt).where(
        CloudInterrupt.cloud_url == cloud_url, CloudInterrupt.number == number
    )
    row = session.scalar(query)
    if row is None:
        row = CloudInterrupt(cloud_url=cloud_url, number=number, received_at=now, attempts=0, problem="")
        session.add(row)
    row.name, row.payload = str(payload.get("name") or "")[:200], dict(payload)
    row.expires_at = _moment(payload.get("expires_at"))
    if payload.get("acked") is True and row.acked_at is None:
        row.acked_at = now
        row.handled_at = row.handled_at or now
    session.flush()
    return row


def note_interrupt(session: Session, row_id: int, now: datetime, *, problem: str) -> None:
    """Write down how the handler ended; an empty ``problem``: it has succeeded."""
    row = session.get_one(CloudInterrupt, row_id)
    row.attempts += 1
    if problem != row.problem or not problem:
        event = "not handled" if problem else "handled"
        audit(session, now=now, actor=ACTOR, subject=("interrupt", row.id), event=event, reason=problem)
    row.problem = problem
    row.handled_at = None if problem else now


def note_acknowledged(session: Session, row_id: int, now: datetime) -> None:
    """Write down that the cloud knows."""
    session.get_one(CloudInterrupt, row_id).acked_at = now


def _add(session: Session, plan: CloudPlan, now: datetime, *, told_at: datetime | None) -> CloudPlanRow:
    same = select(func.max(CloudPlanRow.version)).where(CloudPlanRow.plan_id == plan.plan_id)
    version = (session.scalar(same) or 0) + 1
    row = CloudPlanRow(
        plan_id=plan.plan_id,
        version=version,
        night=plan.night,
        generated_at=plan.generated_at,
        items=list(plan.items),
        received_at=now,
        told_at=told_at,
        replace_running=False,
        run_state="",
        run_reason="",
        telescope="",
    )
    session.add(row)
    session.flush()
    audit(
        session,
        now=now,
        actor=ACTOR,
        subject=("plan", row.id),
        event="received",
        detail={"plan_id": plan.plan_id, "version": version, "items": len(plan.items)},
    )
    return row


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the year 1 has no time before it
        return None
