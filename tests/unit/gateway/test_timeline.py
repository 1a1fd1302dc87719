"""Where the blocks of a night lie on its line of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from skyrelay.domain.states import BlockState
from skyrelay.store.engine import Store
from skyrelay.store.receipts import build_receipt
from skyrelay_gateway.timeline import Timeline, build_timeline, title_of
from support.recorded_night import RecordedNight

NOW = datetime(2025, 3, 27, 2, tzinfo=UTC)


def timeline_of(store: Store, offset: timedelta, *starts_local: datetime) -> Timeline:
    with store.write() as session:
        night = RecordedNight(session, offset)
        telescope = night.telescope()
        for start_local in starts_local:
            night.block(telescope, "M 81", start_local, BlockState.READY, frames=1)
    with store.read() as session:
        return build_timeline(build_receipt(session, date(2025, 3, 26)), NOW)


def test_blocks_lie_where_their_hour_is(store: Store) -> None:
    timeline = timeline_of(
        store,
        timedelta(hours=-4),
        datetime(2025, 3, 26, 21, 15),  # noqa: DTZ001 - a wall clock
        datetime(2025, 3, 26, 22, 45),  # noqa: DTZ001 - a wall clock
    )
    assert [(tick.x, tick.label) for tick in timeline.ticks] == [(0.0, "21:15"), (42.857, "22:00")]
    (row,) = timeline.rows
    assert [(cell.x, cell.width) for cell in row.cells] == [(0.0, 14.286), (85.714, 14.286)]


def test_a_zone_of_half_hours_has_its_own_ticks(store: Store) -> None:
    timeline = timeline_of(
        store,
        timedelta(hours=5, minutes=30),
        datetime(2025, 3, 26, 21, 15),  # noqa: DTZ001 - a wall clock
        datetime(2025, 3, 26, 22, 30),  # noqa: DTZ001 - a wall clock
    )
    assert [tick.label for tick in timeline.ticks] == ["21:15", "22:00"]


def test_a_long_night_has_no_more_ticks_than_a_telephone_is_wide(store: Store) -> None:
    dusk = datetime(2025, 3, 26, 17, 0)  # noqa: DTZ001 - a wall clock
    timeline = timeline_of(store, timedelta(0), dusk, dusk + timedelta(hours=14))
    assert 3 <= len(timeline.ticks) <= 7


@pytest.mark.parametrize(
    ("now_local", "title"),
    [
        (datetime(2025, 3, 26, 21), "Tonight"),  # noqa: DTZ001 - a wall clock
        (datetime(2025, 3, 27, 2), "Tonight"),  # noqa: DTZ001 - a wall clock
        (datetime(2025, 3, 27, 9), "Last night"),  # noqa: DTZ001 - a wall clock
        (datetime(2025, 3, 28, 2), "Night of 26 March"),  # noqa: DTZ001 - a wall clock
    ],
)
def test_a_night_is_called_what_people_call_it(now_local: datetime, title: str) -> None:
    assert title_of(date(2025, 3, 26), now_local) == title
