"""When a telescope may begin, when a block is tried again, how many children a worker has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import TelescopeState
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus
from skyrelay.settings import Settings, StackingSettings, TelescopeSettings
from skyrelay.store.tables import Telescope
from skyrelay_stacker.driving import believable, next_attempt
from skyrelay_stacker.looking import record_status, with_clock
from skyrelay_stacker.reconciling import why_not_now
from skyrelay_stacker.worker import children

NOW = datetime(2026, 2, 28, 5, tzinfo=UTC)
STACKING = StackingSettings(idle_s=120, min_battery=20)


def telescope(**columns: Any) -> Telescope:
    """Give a telescope that has been idle for long enough."""
    usual = {"name": "garden", "state": TelescopeState.READY, "state_reason": "it is idle"}
    return Telescope(**{**usual, "idle_since": NOW - timedelta(seconds=120), **columns})


def test_an_idle_telescope_may_begin() -> None:
    assert why_not_now(telescope(battery_percent=20, charging=False), STACKING, NOW) is None


@pytest.mark.parametrize("state", sorted(set(TelescopeState) - {TelescopeState.READY}))
def test_in_no_other_state_it_may_and_the_state_is_named(state: TelescopeState) -> None:
    assert f"is {state}" in (why_not_now(telescope(state=state), STACKING, NOW) or "")


@pytest.mark.parametrize("since", [None, NOW - timedelta(seconds=119)])
def test_it_must_have_been_idle_for_a_while(since: datetime | None) -> None:
    assert "idle for" in (why_not_now(telescope(idle_since=since), STACKING, NOW) or "")


@pytest.mark.parametrize(
    ("percent", "charging", "holds_back"),
    [
        (19, False, True),
        (19, None, True),
        (19, True, False),
        (20, False, False),
        (None, False, False),
        (None, None, False),
    ],
)
def test_a_low_battery_holds_back_unless_it_charges_and_an_unknown_one_does_not(
    percent: int | None, charging: bool | None, holds_back: bool
) -> None:
    why_not = why_not_now(telescope(battery_percent=percent, charging=charging), STACKING, NOW)
    assert (why_not is not None) is holds_back
    assert not holds_back or "stacking.min_battery" in (why_not or "")


def test_each_next_try_waits_longer_and_at_last_a_person_is_asked() -> None:
    waits = [next_attempt(number, NOW) for number in range(1, 7)]
    assert [at - NOW for at in waits if at is not None] == [timedelta(minutes=m) for m in (1, 5, 15, 60, 240)]
    assert waits[-1] is None


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (timedelta(minutes=59), timedelta(minutes=59)),
        (timedelta(minutes=110), timedelta(minutes=110)),
        (timedelta(days=200), timedelta(0)),
        (timedelta(minutes=-1), timedelta(0)),
    ],
)
def test_a_run_is_not_said_to_have_taken_what_a_clock_jumped(spent: timedelta, expected: timedelta) -> None:
    assert believable(spent, timedelta(hours=1)) == expected


@pytest.mark.parametrize(("telescopes", "expected"), [(0, 3), (1, 3), (2, 3), (3, 4), (8, 9), (50, 9)])
def test_a_worker_has_a_child_for_each_telescope_and_one_to_spare(telescopes: int, expected: int) -> None:
    configured = tuple(TelescopeSettings(name=f"t{n}", host="192.0.2.7") for n in range(telescopes))
    assert children(Settings(telescopes=configured)) == expected


def test_idleness_counts_from_its_beginning_and_an_observation_ends_it() -> None:
    row = telescope(idle_since=None)
    later = NOW + timedelta(minutes=5)
    record_status(row, TelescopeStatus(TelescopeState.READY), NOW)
    record_status(row, TelescopeStatus(TelescopeState.STACKING), later)
    assert row.idle_since == NOW
    record_status(row, TelescopeStatus(TelescopeState.OBSERVING, "it is observing"), later)
    assert (row.idle_since, row.state_since) == (None, later)
    record_status(row, TelescopeStatus(TelescopeState.READY), later)
    assert row.idle_since == later


def test_a_telescope_that_does_not_answer_was_not_seen_and_keeps_what_was_known() -> None:
    row = telescope(last_seen_at=NOW, battery_percent=60)
    record_status(row, TelescopeStatus(TelescopeState.UNREACHABLE, "gone"), NOW + timedelta(hours=1))
    assert (row.state, row.last_seen_at, row.battery_percent) == (TelescopeState.UNREACHABLE, NOW, 60)


@pytest.mark.parametrize(
    ("off_s", "state"),
    [
        (0, TelescopeState.READY),
        (59, TelescopeState.READY),
        (-59, TelescopeState.READY),
        (61, TelescopeState.CLOCK_WRONG),
    ],
)
def test_a_clock_is_wrong_from_a_minute_on(off_s: int, state: TelescopeState) -> None:
    shown_local = datetime(2026, 2, 28, 0) + timedelta(seconds=off_s)  # noqa: DTZ001 - a telescope's wall clock
    device = DeviceInfo("1d3fe189", clock_local=shown_local, zone="America/New_York")
    status = with_clock(TelescopeStatus(TelescopeState.READY), device, NOW)
    assert status.state is state
    assert state is TelescopeState.READY or "one of them is wrong" in status.reason


@pytest.mark.parametrize(
    "now", [datetime(2025, 11, 2, 5, 30, tzinfo=UTC), datetime(2025, 11, 2, 6, 30, tzinfo=UTC)]
)
def test_the_hour_that_comes_twice_is_right_both_times(now: datetime) -> None:
    device = DeviceInfo("1d3fe189", clock_local=datetime(2025, 11, 2, 1, 30), zone="America/New_York")  # noqa: DTZ001 - a telescope's wall clock
    assert with_clock(TelescopeStatus(TelescopeState.READY), device, now).state is TelescopeState.READY


def test_a_telescope_that_shows_no_clock_is_believed() -> None:
    status = TelescopeStatus(TelescopeState.READY)
    assert with_clock(status, DeviceInfo("1d3fe189"), NOW) is status


def test_who_was_out_of_sight_for_long_begins_to_be_idle_anew() -> None:
    yesterday = NOW - timedelta(hours=9)
    row = telescope(idle_since=yesterday, last_seen_at=yesterday)
    record_status(row, TelescopeStatus(TelescopeState.READY), NOW)
    assert row.idle_since == NOW
    soon = NOW + timedelta(minutes=5)
    record_status(row, TelescopeStatus(TelescopeState.READY), soon)
    assert row.idle_since == NOW
