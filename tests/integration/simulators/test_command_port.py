"""The command port: framing, replies, events, idle close, dialects of the firmware."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from skyrelay_simulators.telescope import SimulatedTelescope
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

from .conftest import MakeTelescope

Connect = Callable[[SimulatedTelescope], RawSeestarClient]


def test_a_reply_repeats_id_and_method_and_ends_with_cr_lf(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    client = connect(make_telescope(event_interval_s=0))
    client.send(b'{"id":4711,"method":"test_connection","verify":true}\r\n')
    line = client.read_line()
    reply = json.loads(line)
    assert line.endswith(b"\r\n")
    assert (reply["jsonrpc"], reply["id"], reply["method"], reply["code"]) == (
        "2.0",
        4711,
        "test_connection",
        0,
    )
    assert float(reply["Timestamp"]) >= 0


def test_the_first_line_a_client_reads_is_an_event(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope())
    client.result("test_connection")
    assert client.events[0]["Event"] == "PiStatus"
    assert client.events[0]["battery_capacity"] == 85


def test_status_events_reach_every_connection(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(event_interval_s=0.05)
    clients = [connect(telescope), connect(telescope)]
    for client in clients:
        client.next_event("PiStatus")  # the greeting
        assert client.next_event("PiStatus")["temp"] > 0


def test_lines_that_are_no_json_are_ignored(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope(event_interval_s=0))
    client.send(b"hello?\r\n[1, 2]\r\n\r\n")
    assert client.code("test_connection") == 0


def test_a_silent_connection_is_closed_and_a_pinging_one_is_not(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope(idle_close_s=0.4, event_interval_s=0)
    silent, pinging = connect(telescope), connect(telescope)
    closed = eventually(lambda: pinging.code("test_connection") == 0 and telescope.device.clients == 1)
    assert closed
    assert silent.read_line() == b""
    assert [entry.method for entry in telescope.journal.entries(method="idle close")] == ["idle close"]
    assert pinging.code("test_connection") == 0


def test_events_do_not_keep_a_silent_connection_open(make_telescope: MakeTelescope, connect: Connect) -> None:
    silent = connect(make_telescope(idle_close_s=0.3, event_interval_s=0.05))
    while silent.read_line():
        pass  # ends when the telescope hangs up; the connection's own time limit fails the test


def test_an_unknown_method_is_103(make_telescope: MakeTelescope, connect: Connect) -> None:
    reply = connect(make_telescope()).request("begin_streaming")
    assert (reply["code"], reply["error"]) == (103, "method not found")
    assert "result" not in reply


@pytest.mark.parametrize(("firmware", "code"), [(2427, 103), (2732, 103), (2775, 0), (2889, 0)])
def test_clear_batch_stack_came_with_775(
    make_telescope: MakeTelescope, connect: Connect, firmware: int, code: int
) -> None:
    client = connect(make_telescope(firmware_ver_int=firmware))
    assert client.code("clear_batch_stack") == code
    assert client.code("clear_app_state", {"name": "BatchStack"}) == 0


@pytest.mark.parametrize(
    ("firmware", "in_dict", "in_list"), [(2658, 0, 102), (2706, 109, 107), (2846, 109, 107)]
)
def test_verify_belongs_beside_the_params(
    make_telescope: MakeTelescope, connect: Connect, firmware: int, in_dict: int, in_list: int
) -> None:
    telescope = make_telescope(firmware_ver_int=firmware)
    client = connect(telescope)
    assert client.code("get_device_state", {"keys": ["device"], "verify": True}) == in_dict
    assert client.code("get_img_file_page_number", [{"dir": "MyWorks"}, "verify"]) == in_list
    assert client.code("get_device_state", {"keys": ["device"]}, verify=True) == 0
    assert [entry.verify for entry in telescope.journal.entries(method="get_device_state")] == [False, True]


def test_device_state_says_who_where_and_how(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(longitude_deg=16.4, latitude_deg=48.2, battery_percent=33, charging=True)
    client = connect(telescope)
    state = client.result("get_device_state", {"keys": ["device", "location_lon_lat", "pi_status"]})
    assert set(state) == {"device", "location_lon_lat", "pi_status"}
    assert state["device"]["sn"] == "1d3fe189"
    assert (state["device"]["firmware_ver_int"], state["device"]["firmware_ver_string"]) == (2846, "8.46")
    assert state["location_lon_lat"] == client.result("get_user_location") == [16.4, 48.2]
    assert (state["pi_status"]["battery_capacity"], state["pi_status"]["charge_online"]) == (33, True)
    assert client.result("get_device_state").keys() > state.keys()
    volume = client.result("get_disk_volume")
    assert 0 < volume["freeMB"] <= volume["totalMB"]


def test_the_clock_is_local_and_names_its_zone(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope(timezone="Asia/Kathmandu"))
    shown = client.result("pi_get_time")
    parts = "{year}-{mon:02}-{day:02}T{hour:02}:{min:02}:{sec:02}".format(**shown)
    shown_at = datetime.fromisoformat(parts).replace(tzinfo=ZoneInfo(shown["time_zone"]))
    assert shown["time_zone"] == "Asia/Kathmandu"
    assert abs(shown_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_setting_the_clock_moves_it(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope(timezone="Europe/Vienna"))
    wrong = {"year": 2020, "mon": 1, "day": 1, "hour": 0, "min": 0, "sec": 0, "time_zone": "UTC"}
    assert client.code("pi_set_time", [wrong]) == 0
    shown = client.result("pi_get_time")
    assert (shown["year"], shown["time_zone"]) == (2020, "UTC")
    assert client.code("pi_set_time", [{**wrong, "time_zone": "Mars/Olympus"}]) == 102
    assert client.code("pi_set_time", [{**wrong, "mon": 13}]) == 102


def test_a_view_makes_the_telescope_observe_until_it_stops(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    assert client.result("get_view_state")["View"]["state"] == "cancel"
    assert (
        client.code(
            "iscope_start_view", {"mode": "star", "target_name": "Mizar", "target_ra_dec": [13.4, 54.9]}
        )
        == 0
    )
    view = client.result("get_view_state")["View"]
    assert (view["state"], view["target_name"], view["target_ra_dec"]) == ("working", "Mizar", [13.4, 54.9])
    assert telescope.observing
    client.result("iscope_stop_view", {"stage": None})
    assert client.result("iscope_get_app_state")["View"]["state"] == "complete"
    assert not telescope.observing


def test_observing_is_an_event_for_everybody(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    client.result("test_connection")
    telescope.observe("M 81", ra_deg=148.5, dec_deg=69.0)
    view = client.next_event("View")
    assert (view["state"], view["stage"], view["target_name"]) == ("working", "Stack", "M 81")
    assert view["target_ra_dec"] == [9.9, 69.0]  # hours, degrees
    telescope.finish_observing()
    assert client.next_event("View")["state"] == "complete"


def test_a_plan_counts_as_observing_until_it_is_stopped(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    assert client.code("set_view_plan", {"plan_name": "tonight", "list": []}) == 0
    assert client.result("iscope_get_app_state")["ViewPlan"]["state"] == "working"
    assert client.code("start_batch_stack") == 207
    assert client.code("stop_func", {"name": "ViewPlan"}) == 0
    assert client.result("iscope_get_app_state")["ViewPlan"]["state"] == "cancel"
    assert not telescope.observing


def test_dropped_connections_can_be_made_again(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(event_interval_s=0)
    client = connect(telescope)
    client.result("test_connection")
    telescope.drop_connections()
    assert client.read_line() == b""
    assert connect(telescope).code("test_connection") == 0


def test_two_telescopes_run_side_by_side(make_telescope: MakeTelescope, connect: Connect) -> None:
    first, second = make_telescope(serial="aaa"), make_telescope(serial="bbb")
    serials = [connect(one).result("get_device_state")["device"]["sn"] for one in (first, second)]
    assert serials == ["aaa", "bbb"]


def test_stopping_frees_the_ports_at_once(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    client.result("test_connection")
    telescope.stop()
    telescope.stop()
    again = make_telescope(serial="again", rpc_port=telescope.endpoint.rpc_port)
    assert connect(again).code("test_connection") == 0


def test_a_taken_port_is_an_error_that_start_raises(make_telescope: MakeTelescope) -> None:
    taken = make_telescope().endpoint.rpc_port
    with pytest.raises(OSError, match="in use"):
        make_telescope(serial="second", rpc_port=taken)


def test_the_journal_tells_what_was_asked_and_answered(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    client.code("get_albums")
    client.code("get_img_file_page_number", {"dir": "../etc"})
    last = telescope.journal.entries(method="get_img_file_page_number")[0]
    assert telescope.journal.methods() == ["connect", "get_albums", "get_img_file_page_number"]
    assert (last.params, last.code, last.channel) == ({"dir": "../etc"}, 102, "rpc")
    assert telescope.journal.entries(since=last.number) == []


def test_the_journal_is_kept_as_json_lines(
    make_telescope: MakeTelescope, connect: Connect, tmp_path: Path
) -> None:
    telescope = make_telescope(journal_path=tmp_path / "journal.jsonl")
    connect(telescope).code("get_albums")
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["method"] for line in lines] == ["connect", "get_albums"]
