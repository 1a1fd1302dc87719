"""What the cloud's operator does: plans, interrupts, revoked keys."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from skyrelay_simulators.cloud.orders import InterruptOrder, PlanOrder
from skyrelay_simulators.cloud.storage import Storage


def give_plan(storage: Storage, order: PlanOrder) -> str:
    """Put a plan in the place of the earlier one; give its name."""
    plan_id = order.plan_id or f"plan_{secrets.token_hex(5)}"
    generated_at = datetime.now(UTC).isoformat()
    storage.put_plan(
        order.node_id,
        {"plan_id": plan_id, "night": order.night, "generated_at": generated_at, "items": order.items},
    )
    return plan_id


def broadcast(storage: Storage, order: InterruptOrder) -> int:
    """Enter an interrupt; give its number."""
    now = datetime.now(UTC)
    return storage.add_interrupt(order.begun(now, now + timedelta(hours=order.expires_hours)))
