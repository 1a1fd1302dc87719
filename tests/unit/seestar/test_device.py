"""Who a telescope is and what it does: typed, whatever it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.states import Reach, TelescopeState
from skyrelay.seestar.device import clock_error, is_observing, read_device, read_status
from skyrelay.seestar.errors import NotATelescope

_DEVICE = {
    "sn": "1d3fe189",
    "product_model": "Seestar S50",
    "firmware_ver_int": 2846,
    "firmware_ver_string": "8.46",
}
_CLOCK = {"year": 2026, "mon": 2, "day": 27, "hour": 22, "min": 52, "sec": 3, "time_zone": "Europe/Vienna"}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device", "sn", "View", "state", "pi_status", "freeMB", "temp"]), inner
        )
    ),
    max_leaves=12,
)


def test_a_device_is_read() -> None:
    device = read_device({"device": _DEVICE, "location_lon_lat": [16.3, 48.2]}, _CLOCK)
    assert (device.serial, device.model, device.firmware_int) == ("1d3fe189", "Seestar S50", 2846)
    assert (device.longitude_deg, device.latitude_deg) == (16.3, 48.2)
    assert clock_error(device, datetime(2026, 2, 27, 21, 52, 3, tzinfo=UTC)) == timedelta(0)


def test_home_is_not_shown() -> None:
    shown = repr(read_device({"device": _DEVICE, "location_lon_lat": [16.3725, 48.2082]}, None))
    assert "16.37" not in shown
    assert "48.20" not in shown


@pytest.mark.parametrize(
    "state", [None, 0, [], {}, {"device": {"sn": ""}}, {"device": {"sn": 5}}, {"device": 3}]
)
def test_without_a_serial_number_it_is_no_telescope(state: Any) -> None:
    with pytest.raises(NotATelescope):
        read_device(state, None)


@pytest.mark.parametrize(
    "change",
    [
        {"mon": 13},
        {"day": None},
        {"hour": "x"},
        {"year": 10**9},
        {"time_zone": "Mars/Base"},
        {"time_zone": "Europe"},
        {"time_zone": "../../etc/passwd"},
        {"time_zone": "\0"},
        {"time_zone": None},
    ],
)
def test_a_clock_that_makes_no_sense_is_unknown(change: dict[str, Any]) -> None:
    device = read_device({"device": _DEVICE}, {**_CLOCK, **change})
    assert clock_error(device, datetime(2026, 2, 27, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("view", "app", "free_mb", "expected"),
    [
        ({}, {}, 5000, TelescopeState.READY),
        ({"View": {"state": "working"}}, {}, 5000, TelescopeState.OBSERVING),
        ({"View": {"state": "cancel"}}, {"ViewPlan": {"state": "working"}}, 5000, TelescopeState.OBSERVING),
        ({}, {"BatchStack": {"state": "working"}}, 5000, TelescopeState.STACKING),
        ({}, {"BatchStack": {"state": "complete"}}, 5000, TelescopeState.READY),
        ({"View": {"state": "working"}}, {"BatchStack": {"state": "working"}}, 1, TelescopeState.OBSERVING),
        ({}, {}, 20, TelescopeState.FULL),
        ({}, None, None, TelescopeState.READY),
    ],
)
def test_one_state_is_named(view: Any, app: Any, free_mb: int | None, expected: TelescopeState) -> None:
    status = read_status({}, {"freeMB": free_mb}, view, app)
    assert status.state is expected
    assert status.reason


@pytest.mark.parametrize(
    ("view", "stack", "reason"),
    [
        (
            {"state": "working", "target_name": "M 31", "stage": "AutoGoto"},
            {},
            "it is observing M 31 (AutoGoto)",
        ),
        ({"state": "working"}, {}, "it is observing"),
        (
            {},
            {"state": "working", "percent": 34.2, "remaining_sec": 40.4},
            "it is stacking (34 %, 40 s left)",
        ),
        ({}, {"state": "working", "percent": "x", "remaining_sec": 0}, "it is stacking"),
        ({}, {"state": "levitating"}, "it is idle"),
    ],
)
def test_the_reason_says_what_it_is_busy_with(view: Any, stack: Any, reason: str) -> None:
    status = read_status({}, None, {"View": view}, {"BatchStack": stack})
    assert status.reason == reason
    assert status.reach is Reach.ANSWERS
    assert (status.remaining_s == 40.4) is ("40 s left" in reason)


@pytest.mark.parametrize(
    ("power", "battery", "charging"),
    [
        ({"battery_capacity": 85, "charge_online": False, "charger_status": "Discharging"}, 85, False),
        ({"battery_capacity": 85, "charge_online": True, "charger_status": "Full"}, 85, True),
        ({"charger_status": "Charging"}, None, True),
        ({}, None, None),
        ({"battery_capacity": "x"}, None, None),
    ],
)
def test_the_battery_is_read_or_unknown(power: Any, battery: int | None, charging: bool | None) -> None:
    status = read_status({"pi_status": power}, None, None, None)
    assert (status.battery_percent, status.charging) == (battery, charging)


@given(_JSON, _JSON, _JSON, _JSON)
def test_whatever_it_says_the_status_is_typed(device: Any, volume: Any, view: Any, app: Any) -> None:
    status = read_status(device, volume, view, app)
    assert (status.state is TelescopeState.OBSERVING) == is_observing(view, app)


@pytest.mark.parametrize("fold", [0, 1])
def test_in_the_hour_that_comes_twice_a_clock_is_right_both_times(fold: int) -> None:
    clock = {"year": 2026, "mon": 10, "day": 25, "hour": 2, "min": 30, "sec": 0, "time_zone": "Europe/Vienna"}
    now = datetime(2026, 10, 25, fold, 30, tzinfo=UTC)
    assert clock_error(read_device({"device": _DEVICE}, clock), now) == timedelta(0)
