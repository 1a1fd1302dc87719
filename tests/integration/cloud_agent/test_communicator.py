"""`CloudCommunicator` does what its page says: each test is named after one of its sentences."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from skyrelay.errors import ConfigurationError
from skyrelay.settings import CloudSettings
from skyrelay_cloud_agent import CloudCommunicator
from skyrelay_cloud_agent.communicator import settings_of
from skyrelay_cloud_agent.node_card import utc_offset_h
from skyrelay_simulators.cloud import Fault
from support.fits_files import write_fits
from support.node_program import NodeProgram, measurement, node_program, threads_of_ours
from support.waiting import eventually

ITEM = {"target": "T CrB", "ra": 15.99, "dec": 25.92, "expDur": 10, "expCount": 60, "startTime": "23:16"}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[NodeProgram]:
    with node_program(tmp_path) as program:
        yield program


# Constructor and life cycle


def test_the_constructor_takes_the_config_and_three_optional_callbacks(program: NodeProgram) -> None:
    cc = CloudCommunicator(program.config(), get_conditions=None, on_plan=None, on_interrupt=None)
    assert CloudCommunicator(program.config()).status == cc.status
    assert threads_of_ours() == []


def test_when_enabled_is_false_nothing_starts(program: NodeProgram) -> None:
    cc = program.started(cloud={"enabled": False})
    assert threads_of_ours() == []
    assert not cc.submit_measurement(measurement())
    assert not (program.folder / "data").exists()
    assert program.cloud.requests() == []


def test_enabled_is_false_by_default() -> None:
    cc = CloudCommunicator({"cloud": {"url": "http://127.0.0.1:9"}})
    cc.start()
    assert threads_of_ours() == []


def test_the_keys_have_the_defaults_of_the_page() -> None:
    cloud = settings_of({}).cloud
    assert (cloud.enabled, cloud.url, cloud.node_id, cloud.api_key.get_secret_value()) == (False, "", "", "")
    assert (cloud.heartbeat_interval, cloud.plan_poll_interval) == (60, 300)
    assert (cloud.auto_run_plans, cloud.upload_images) == (False, False)
    assert cloud == CloudSettings()


def test_if_url_is_empty_start_logs_an_error_and_spawns_no_thread(
    program: NodeProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    cc = program.started(cloud={"url": ""})
    assert threads_of_ours() == []
    logged = capsys.readouterr().out
    assert "error" in logged
    assert "cloud.url is empty" in logged
    assert "cloud.url is empty" in str(cc.status["error"])


def test_start_launches_two_daemon_threads(program: NodeProgram) -> None:
    program.started().start()
    threads = threads_of_ours()
    assert sorted(thread.name for thread in threads) == ["cloud-heartbeat", "cloud-plan"]
    assert all(thread.daemon for thread in threads)


def test_trailing_slashes_of_the_url_are_stripped(program: NodeProgram) -> None:
    program.started(cloud={"url": program.cloud.base_url + "///"})
    eventually(lambda: program.accepted("heartbeat"))


def test_stop_ends_the_threads_while_the_cloud_says_nothing(program: NodeProgram) -> None:
    program.cloud.show("*", Fault(mode="delay", seconds=20))
    cc = program.started()
    eventually(lambda: program.cloud.requests("register") or threads_of_ours())
    cc.stop()
    assert threads_of_ours() == []


def test_stop_ends_the_threads_while_nobody_takes_the_connection(program: NodeProgram) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # fills its queue: further connections are not answered at all
            each.setblocking(False)
            each.connect_ex(address)
        cc = program.started(cloud={"url": f"http://127.0.0.1:{address[1]}"})
        eventually(lambda: len(threads_of_ours()) == 2)
        time.sleep(0.2)  # into the connect(), which cannot be seen from outside
        cc.stop()
        assert threads_of_ours() == []
        for each in waiting:
            each.close()


def test_it_can_be_started_again_after_it_was_stopped(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    cc.stop()
    before = program.accepted("heartbeat")
    cc.start()
    eventually(lambda: program.accepted("heartbeat") > before)


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cloud\.heartbeat_interval"):
        CloudCommunicator({"cloud": {"heartbeat_interval": "often"}})


# Registration


def test_before_a_heartbeat_it_registers_with_what_the_config_says(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    (call,) = program.cloud.requests("register")
    assert call.content == {
        "node_id": "garden",
        "owner_name": "Ada",
        "latitude": 48.2345,
        "longitude": 16.3456,
        "elevation": 171.5,
        "telescope_model": "ZWO Seestar S50",
        "filters": "TG",
        "utc_offset_hours": 5.5,
    }
    assert cc.status["registered"] is True


def test_the_registration_has_no_auth_headers_and_the_rest_has_both(program: NodeProgram) -> None:
    program.started()
    eventually(lambda: program.accepted("heartbeat") and program.accepted("plan"))
    assert [entry.user for entry in program.cloud.requests("register")] in ([None], [""])
    assert {entry.user for entry in program.cloud.requests("heartbeat")} == {"garden"}


def test_credentials_are_kept_so_that_registration_never_repeats(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    cc.stop()
    kept = json.loads((program.folder / "data" / "cloud_state.json").read_text())
    assert kept["node_id"] == "garden"
    assert kept["api_key"] == program.cloud.nodes[0].api_key
    before = program.accepted("heartbeat")
    program.started()
    eventually(lambda: program.accepted("heartbeat") > before)
    assert len(program.cloud.requests("register")) == 1


def test_the_state_file_of_the_older_software_is_taken_over(program: NodeProgram) -> None:
    program.started()
    eventually(lambda: program.accepted("heartbeat"))
    program.made[0].stop()
    file = program.folder / "data" / "cloud_state.json"
    old = json.loads(file.read_text())
    file.write_text(json.dumps({"node_id": old["node_id"], "api_key": old["api_key"]}))
    before = program.accepted("heartbeat")
    program.started()
    eventually(lambda: program.accepted("heartbeat") > before)
    assert len(program.cloud.requests("register")) == 1


def test_explicit_values_in_the_config_win_over_saved_state(program: NodeProgram) -> None:
    program.started()
    eventually(lambda: program.accepted("heartbeat"))
    program.made[0].stop()
    key = program.cloud.nodes[0].api_key
    file = program.folder / "data" / "cloud_state.json"
    file.write_text(json.dumps({"node_id": "another", "api_key": "another-key"}))
    before = program.accepted("heartbeat")
    program.started(cloud={"node_id": "garden", "api_key": key})
    eventually(lambda: program.accepted("heartbeat") > before)


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/Vienna", datetime(2026, 1, 15, tzinfo=UTC), 1.0),
        ("Europe/Vienna", datetime(2026, 7, 15, tzinfo=UTC), 2.0),
        ("Australia/Adelaide", datetime(2026, 1, 15, tzinfo=UTC), 10.5),
        ("Australia/Adelaide", datetime(2026, 7, 15, tzinfo=UTC), 9.5),
        ("Asia/Kathmandu", datetime(2026, 7, 15, tzinfo=UTC), 5.75),
        ("America/St_Johns", datetime(2026, 7, 15, tzinfo=UTC), -2.5),
    ],
)
def test_utc_offset_hours_knows_daylight_saving_and_half_hours(
    zone: str, moment: datetime, hours: float
) -> None:
    assert utc_offset_h(settings_of({"observatory": {"timezone": zone}}), moment) == hours


# Heartbeats


def test_it_posts_heartbeats_at_its_interval(program: NodeProgram) -> None:
    program.started()
    eventually(lambda: program.accepted("heartbeat") >= 3)


def test_a_long_interval_gives_one_heartbeat_and_one_poll(program: NodeProgram) -> None:
    program.started(cloud={"heartbeat_interval": 3600})
    eventually(lambda: program.accepted("interrupts"))
    assert (program.accepted("heartbeat"), program.accepted("plan")) == (1, 1)


def test_conditions_are_merged_into_the_heartbeat(program: NodeProgram) -> None:
    program.started(lambda: {"sky_temp_c": -20.5, "wind": {"speed_ms": 2}})
    eventually(lambda: program.accepted("heartbeat"))
    assert program.cloud.nodes[0].conditions == {
        "sky_temp_c": -20.5,
        "wind": {"speed_ms": 2},
        "utc_offset_hours": 5.5,
    }


@pytest.mark.parametrize("bad", [lambda: 1 / 0, lambda: None, lambda: 7])
def test_a_conditions_callback_that_raises_costs_no_heartbeat(program: NodeProgram, bad: Any) -> None:
    cc = program.started(bad)
    eventually(lambda: program.accepted("heartbeat") >= 2)
    assert program.cloud.nodes[0].conditions == {"utc_offset_hours": 5.5}
    assert cc.status["error"] is None


# Plans


def test_on_plan_is_called_whenever_the_plan_id_differs_from_the_last_one(program: NodeProgram) -> None:
    told: list[list[Any]] = []
    first = program.cloud.set_plan([ITEM])
    cc = program.started(on_plan=told.append, cloud={"plan_poll_interval": 1})
    eventually(lambda: program.accepted("plan") >= 3)
    assert told == [[ITEM]]
    assert (cc.status["last_plan_id"], cc.status["plan_items"]) == (first, 1)

    second = program.cloud.set_plan([ITEM, ITEM])
    eventually(lambda: len(told) == 2)
    assert told[1] == [ITEM, ITEM]
    eventually(lambda: (cc.status["last_plan_id"], cc.status["plan_items"]) == (second, 2))


def test_the_last_plan_survives_a_restart(program: NodeProgram) -> None:
    told: list[list[Any]] = []
    plan_id = program.cloud.set_plan([ITEM])
    program.started(on_plan=told.append)
    eventually(lambda: program.accepted("interrupts"))
    program.made[0].stop()
    before = program.accepted("interrupts")
    again = program.communicator(on_plan=told.append)
    again.start()
    assert (again.status["last_plan_id"], again.status["plan_items"]) == (plan_id, 1)
    eventually(lambda: program.accepted("interrupts") > before)
    assert len(told) == 1


def test_a_plan_whose_callback_raised_is_told_again(program: NodeProgram) -> None:
    told: list[Any] = []

    def takes_the_second_time(items: list[Any]) -> None:
        told.append(items)
        if len(told) == 1:
            raise OSError("the mount is asleep")

    program.cloud.set_plan([ITEM])
    program.started(on_plan=takes_the_second_time, cloud={"plan_poll_interval": 1})
    eventually(lambda: len(told) == 2)
    polls = program.accepted("plan")
    eventually(lambda: program.accepted("plan") >= polls + 2)
    assert len(told) == 2


@pytest.mark.parametrize("items", [[], [{"target": 7}, "rubbish", None]])
def test_plans_that_are_empty_or_odd_are_told_as_they_are(program: NodeProgram, items: list[Any]) -> None:
    told: list[list[Any]] = []
    program.cloud.show(
        "plan", Fault(mode="status", status=200, body={"plan": {"plan_id": "p", "items": items}})
    )
    program.started(on_plan=told.append)
    eventually(lambda: told)
    assert told == [items]


# Interrupts


def test_each_interrupt_is_told_once_and_acknowledged_after_the_callback(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []

    def take(interrupt: dict[str, Any]) -> None:
        assert not program.cloud.interrupts[0].acked_by
        told.append(interrupt)

    number = program.cloud.interrupt("GRB 261125A", 150.0, 20.0, reason="afterglow")
    program.started(on_interrupt=take, cloud={"plan_poll_interval": 1})
    eventually(lambda: program.cloud.interrupts[0].acked_by == ("garden",))
    polls = program.accepted("interrupts")
    eventually(lambda: program.accepted("interrupts") >= polls + 2)
    (interrupt,) = told
    assert (interrupt["id"], interrupt["name"], interrupt["reason"]) == (number, "GRB 261125A", "afterglow")
    assert len(program.cloud.requests("ack")) == 1


def test_an_interrupt_whose_callback_raised_is_not_acknowledged_and_told_again(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []
    good = threading.Event()

    def take(interrupt: dict[str, Any]) -> None:
        told.append(interrupt)
        if not good.is_set():
            raise RuntimeError("the roof is shut")

    program.cloud.interrupt("GRB", 150.0, 20.0)
    cc = program.started(on_interrupt=take, cloud={"plan_poll_interval": 1})
    eventually(lambda: len(told) >= 2)
    assert program.cloud.requests("ack") == []
    assert "the roof is shut" in str(cc.status["error"]) or cc.status["error"] is None
    good.set()
    eventually(lambda: program.cloud.interrupts[0].acked_by)


def test_an_acknowledgement_that_failed_is_repeated_without_the_callback(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []
    program.cloud.show("ack", Fault(mode="status", status=503, times=1))
    program.cloud.interrupt("GRB", 150.0, 20.0)
    program.started(on_interrupt=told.append, cloud={"plan_poll_interval": 1})
    eventually(lambda: program.cloud.interrupts[0].acked_by)
    assert len(told) == 1


def test_handled_interrupts_survive_a_restart(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []
    program.cloud.show("ack", Fault(mode="status", status=503))
    program.cloud.interrupt("GRB", 150.0, 20.0)
    program.started(on_interrupt=told.append)
    eventually(lambda: program.cloud.requests("ack"))
    program.made[0].stop()
    program.cloud.show("ack")
    program.started(on_interrupt=told.append)
    eventually(lambda: program.cloud.interrupts[0].acked_by)
    assert len(told) == 1


def test_interrupts_that_have_expired_are_not_told(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []
    program.cloud.interrupt("late", 1.0, 1.0, expires_hours=-1)
    rows = [{"id": 99, "name": "slow clock", "expires_at": "2020-01-01T00:00:00+00:00", "acked": False}]
    program.cloud.show("interrupts", Fault(mode="status", status=200, body={"interrupts": rows}, times=1))
    program.started(on_interrupt=told.append, cloud={"plan_poll_interval": 1})
    eventually(lambda: program.accepted("interrupts") >= 2)
    assert told == []


# Measurements


def test_submit_gives_true_when_the_cloud_has_it(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    assert cc.submit_measurement(measurement(), {"clouds": 0.1}) is True
    (stored,) = program.cloud.measurements
    assert (stored.measurement["bjd"], stored.conditions) == (2460761.5, {"clouds": 0.1})
    assert program.cloud.requests("measurements")[0].content.keys() == {"measurement", "conditions"}
    assert cc.status["queued_uploads"] == 0


def test_without_conditions_an_empty_dict_is_sent(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    assert cc.submit_measurement(measurement())
    assert program.cloud.requests("measurements")[0].content["conditions"] == {}


def test_submit_gives_false_while_it_is_not_registered_and_delivers_later(program: NodeProgram) -> None:
    cc = program.communicator()
    assert cc.submit_measurement(measurement()) is False
    assert (cc.status["queued_uploads"], program.cloud.requests()) == (1, [])
    cc.start()
    eventually(lambda: program.arrived() == [2460761.5])
    eventually(lambda: cc.status["queued_uploads"] == 0)


def test_submit_gives_false_when_delivery_fails_and_a_later_heartbeat_flushes(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    program.cloud.show("*", Fault(mode="status", status=503))
    eventually(lambda: cc.status["last_heartbeat_ok"] is False)
    assert cc.submit_measurement(measurement(1)) is False
    assert cc.submit_measurement(measurement(2)) is False
    assert cc.status["queued_uploads"] == 2
    assert (
        len(program.cloud.requests("measurements")) == 1
    )  # the second did not wait for a cloud that is away
    program.cloud.show("*")
    eventually(lambda: len(program.arrived()) == 2, within_s=60)
    eventually(lambda: cc.status["queued_uploads"] == 0)


def test_the_queue_outlives_the_process(program: NodeProgram) -> None:
    cc = program.communicator()
    for number in range(5):
        cc.submit_measurement(measurement(number))
    cc.stop()
    program.started()
    eventually(lambda: len(program.arrived()) == 5)
    assert len(program.cloud.requests("measurements")) == 5


def test_the_order_of_the_queue_is_kept(program: NodeProgram) -> None:
    cc = program.communicator()
    for number in (3, 1, 2):
        cc.submit_measurement(measurement(number))
    cc.start()
    eventually(lambda: len(program.arrived()) == 3)
    sent = [stored.measurement["bjd"] for stored in program.cloud.measurements]
    assert sent == [measurement(number)["bjd"] for number in (3, 1, 2)]


@pytest.mark.parametrize(
    "bad", [{"magnitude": None}, {"bjd": "2460761.5"}, {"target_name": ""}, {"magnitude": float("nan")}]
)
def test_what_would_break_the_cloud_is_not_sent_and_said(program: NodeProgram, bad: dict[str, Any]) -> None:
    cc = program.started(cloud={"heartbeat_interval": 3600})
    eventually(lambda: (cc.detail() or {}).get("state") == "connected")  # what it says comes after that
    assert cc.submit_measurement(measurement(**bad)) is False
    assert "cannot be sent" in str(cc.status["error"])
    assert cc.submit_measurement(measurement()) is True
    assert len(program.cloud.requests("measurements")) == 1


def test_what_the_cloud_refuses_is_not_tried_again(program: NodeProgram) -> None:
    cc = program.started(cloud={"heartbeat_interval": 1})
    eventually(lambda: program.accepted("heartbeat"))
    assert cc.submit_measurement(measurement(magnitude=99)) is False
    assert cc.status["queued_uploads"] == 0
    beats = program.accepted("heartbeat")
    eventually(lambda: program.accepted("heartbeat") >= beats + 2)
    assert len(program.cloud.requests("measurements")) == 1


def test_a_cloud_that_takes_and_never_answers_holds_nobody_for_long(program: NodeProgram) -> None:
    cc = program.started(cloud={"heartbeat_interval": 3600})
    eventually(lambda: program.accepted("heartbeat"))
    program.cloud.show("measurements", Fault(mode="delay", seconds=12))
    answers: list[bool] = []
    submitters = [
        threading.Thread(
            target=lambda number=number: answers.append(cc.submit_measurement(measurement(number)))
        )
        for number in range(4)
    ]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join(30)
    assert answers == [False] * 4
    assert cc.submit_measurement(measurement(9)) is False
    assert len(program.cloud.requests("measurements")) <= 4


def test_an_image_follows_its_measurement(program: NodeProgram) -> None:
    image = write_fits(program.folder / "T CrB.fit")
    cc = program.started(cloud={"upload_images": True, "heartbeat_interval": 3600})
    eventually(lambda: program.accepted("heartbeat"))
    assert cc.submit_measurement(measurement(), fits_path=str(image)) is True
    eventually(lambda: program.accepted("images"))
    (stored,) = program.cloud.images
    assert program.cloud.stored_bytes(stored) == image.read_bytes()
    order = [entry.endpoint for entry in program.cloud.requests()]
    assert order.index("measurements") < order.index("images")


def test_an_image_that_fails_does_not_change_the_answer(program: NodeProgram) -> None:
    program.cloud.show("images", Fault(mode="status", status=400))
    cc = program.started(cloud={"upload_images": True})
    eventually(lambda: program.accepted("heartbeat"))
    image = write_fits(program.folder / "a.fit")
    assert cc.submit_measurement(measurement(), fits_path=str(image)) is True
    eventually(lambda: program.cloud.requests("images"))
    assert cc.submit_measurement(measurement(1), fits_path=str(program.folder / "gone.fit")) is True


def test_without_upload_images_no_image_is_sent(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    assert cc.submit_measurement(measurement(), fits_path=str(write_fits(program.folder / "a.fit")))
    beats = program.accepted("heartbeat")
    eventually(lambda: program.accepted("heartbeat") >= beats + 2)
    assert program.cloud.images == []


def test_a_queued_measurement_gets_its_image_too(program: NodeProgram) -> None:
    cc = program.communicator(cloud={"upload_images": True})
    assert not cc.submit_measurement(measurement(), fits_path=str(write_fits(program.folder / "a.fit")))
    cc.start()
    eventually(lambda: program.cloud.images)


def test_the_queue_of_the_older_software_is_taken_over(program: NodeProgram) -> None:
    data = program.folder / "data"
    data.mkdir()
    old = [{"measurement": measurement(number), "conditions": {"n": number}} for number in range(4)]
    (data / "cloud_upload_queue.json").write_text(json.dumps(old))
    program.started()
    eventually(lambda: len(program.arrived()) == 4)
    assert [stored.conditions for stored in program.cloud.measurements] == [
        {"n": number} for number in range(4)
    ]
    assert not (data / "cloud_upload_queue.json").exists()


def test_half_a_queue_file_is_left_where_it_is(program: NodeProgram) -> None:
    file = program.folder / "data" / "cloud_upload_queue.json"
    file.parent.mkdir()
    file.write_text('[{"measurement": {"bjd": 24')
    program.started()
    eventually(lambda: program.accepted("heartbeat"))
    assert file.read_text() == '[{"measurement": {"bjd": 24'


def test_what_it_keeps_is_readable_by_its_owner_alone(program: NodeProgram) -> None:
    cc = program.started()
    cc.submit_measurement(measurement())
    eventually(lambda: program.accepted("heartbeat"))
    files = [file for file in (program.folder / "data").iterdir() if file.is_file()]
    assert len(files) >= 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


# Status


def test_status_has_the_keys_and_types_of_the_page(program: NodeProgram) -> None:
    cc = program.communicator()
    status = cc.status
    assert status == {
        "registered": False,
        "last_heartbeat_ok": None,
        "last_plan_id": None,
        "plan_items": 0,
        "queued_uploads": 0,
        "error": None,
    }
    assert type(status) is dict
    program.cloud.set_plan([ITEM], plan_id="tonight")
    cc.start()
    eventually(lambda: status["last_plan_id"])
    assert cc.status is status
    assert status == {
        "registered": True,
        "last_heartbeat_ok": True,
        "last_plan_id": "tonight",
        "plan_items": 1,
        "queued_uploads": 0,
        "error": None,
    }


def test_last_heartbeat_ok_is_false_when_it_failed_and_error_says_why(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: cc.status["last_heartbeat_ok"] is True)
    program.cloud.show("heartbeat", Fault(mode="status", status=503))
    eventually(lambda: cc.status["last_heartbeat_ok"] is False)
    assert "503" in cc.status["error"]
    program.cloud.show("heartbeat")
    eventually(lambda: cc.status["last_heartbeat_ok"] is True, within_s=60)
    eventually(lambda: cc.status["error"] is None)


def test_a_401_ends_the_beat_and_says_so(program: NodeProgram) -> None:
    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    program.cloud.revoke("garden")
    eventually(lambda: cc.status["last_heartbeat_ok"] is False)
    assert "refuses the node's credentials" in cc.status["error"]
    before = len(program.cloud.requests())
    assert cc.submit_measurement(measurement()) is False
    assert len(program.cloud.requests()) == before
    assert len(program.cloud.requests("register")) == 1
