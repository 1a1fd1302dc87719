"""A list of nights is counted from its nights, and never by reading all deliveries of years."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import event

from skyrelay.store.engine import Store
from skyrelay_gateway.night_calendar import build_month
from skyrelay_gateway.nights import list_nights
from support.dashboard_scene import Scene


def test_no_list_of_nights_reads_all_deliveries_or_frames(night: Store, scene: Scene) -> None:
    asked: list[tuple[str, Any]] = []

    @event.listens_for(night.engine, "before_cursor_execute")
    def _note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    with night.read() as session:
        assert list_nights(session, 50, None).items[0].delivered > 0
        assert build_month(session, date(2025, 3, 1)) is not None
        event.remove(night.engine, "before_cursor_execute", _note)
        queries = [each for each in asked if each[0].startswith("SELECT")]
        assert len(queries) > 5
        connection = session.connection().connection
        explain = connection.execute  # type: ignore[attr-defined] # SQLite's own
        steps = [
            str(step[3]) for each, given in queries for step in explain(f"EXPLAIN QUERY PLAN {each}", given)
        ]
    for table in ("deliveries", "frames", "stacks"):
        assert [step for step in steps if step.startswith(f"SCAN {table}")] == [], steps
