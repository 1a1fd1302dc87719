"""The audit log in parts, of which some are forgotten meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete

from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry
from skyrelay.store.transitions import audit
from skyrelay_gateway.audit_log import AuditFilters, list_audit
from skyrelay_gateway.paging import PageRequest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_list_goes_on_though_the_step_it_stood_at_is_forgotten(store: Store) -> None:
    with store.write() as session:
        for hour in range(4):
            at = NOW + timedelta(hours=hour)
            audit(session, now=at, actor="stacker", subject=("block", 1), event="step")
    assert listed(store, after_id=3) == [2, 1]
    with store.write() as session:
        session.execute(delete(AuditEntry).where(AuditEntry.id == 3))
    assert listed(store, after_id=3) == [2, 1]


def listed(store: Store, after_id: int) -> list[int]:
    with store.read() as session:
        page = list_audit(session, PageRequest(limit=10, after_id=after_id), AuditFilters())
    return [item.id for item in page.items]
