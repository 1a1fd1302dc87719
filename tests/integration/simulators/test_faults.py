"""Each fault of a telescope does what its switch says, and nothing once it is off."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from skyrelay_simulators.telescope import KeyPair, SimulatedTelescope, SmbBackend, generate_key_pair
from skyrelay_simulators.telescope.faults import Fault, read_fault
from skyrelay_simulators.telescope.rpc_codes import Code
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

from .conftest import MakeTelescope, observe_m81

Connect = Callable[[SimulatedTelescope], RawSeestarClient]
SUB = "MyWorks/M 81_sub"


@pytest.fixture
def telescope(make_telescope: MakeTelescope) -> SimulatedTelescope:
    """A telescope that says nothing unasked, with four frames on it."""
    telescope = make_telescope(event_interval_s=0, stack_seconds=0.0, fault_seed=7)
    observe_m81(telescope, frames=4)
    return telescope


@pytest.fixture
def client(telescope: SimulatedTelescope, connect: Connect) -> RawSeestarClient:
    """A connection to it."""
    return connect(telescope)


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


def switch(name: str, **fields: Any) -> Fault:
    return read_fault(name, fields)


def send(client: RawSeestarClient, method: str, params: Any = None) -> None:
    client.send(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\r\n")


def happened(telescope: SimulatedTelescope, name: str) -> int:
    count: int = telescope.faults.to_json()["happened"].get(name, 0)
    return count


# --- what they have in common ---


def test_an_incident_lets_some_pass_and_happens_so_many_times(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("refuse", after=2, times=3, code=203))

    assert [client.code("test_connection") for _ in range(7)] == [0, 0, 203, 203, 203, 0, 0]
    assert telescope.faults.to_json() == {"on": {}, "happened": {"refuse": 3}}
    assert [entry.params for entry in telescope.journal.entries(channel="fault")] == ["test_connection"] * 3


def test_an_incident_can_be_for_some_methods(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("refuse", methods=["get_albums"], code=102))

    assert [client.code(method) for method in ("test_connection", "get_albums")] == [0, 102]


def test_odds_are_kept_and_the_same_seed_gives_the_same_incidents(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("refuse", odds=0.3))

    def play() -> list[int]:
        telescope.faults.seed(11)
        return [client.code("test_connection") for _ in range(200)]

    first = play()
    assert 30 < first.count(207) < 90
    assert play() == first


def test_switched_off_it_happens_no_more(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("refuse"), switch("slow_reply", seconds=0.01))
    telescope.switch_off(type(switch("refuse")))
    assert client.code("test_connection") == 0
    assert list(telescope.faults.to_json()["on"]) == ["slow_reply"]
    telescope.switch_off()
    assert telescope.faults.to_json() == {"on": {}, "happened": {}}


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("explode", {}, "there is no switch 'explode'; there are address, "),
        ("drop", {"chance": 0.5}, "drop: chance: .*its fields: odds, times, after, methods"),
        ("drop", {"odds": 2}, "drop: odds: .*less than or equal to 1"),
        ("fail_stack", {"code": 999}, "fail_stack: code: "),
        ("full", {"times": 3}, "full: times: .*its fields: free_mb"),
    ],
)
def test_a_wrong_switch_is_named(name: str, fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read_fault(name, fields)


# --- the command port ---


def test_drop_carries_nothing_out(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("drop", methods=["iscope_start_view"], times=1))
    send(client, "iscope_start_view", {"target_name": "M 1"})
    assert client.read_line() == b""
    assert not telescope.observing


def test_drop_reply_carries_it_out_and_hangs_up(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("drop_reply"))
    send(client, "iscope_start_view", {"target_name": "M 1"})
    assert b"Event" not in client.read_line() or client.read_line() == b""
    assert telescope.observing


def test_lose_reply_carries_it_out_and_the_connection_stands(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("lose_reply", methods=["set_view_plan"]))
    send(client, "set_view_plan", {"list": []})
    assert client.code("test_connection") == 0
    assert all("id" not in event for event in client.events)
    assert telescope.observing


def test_slow_reply_comes_late(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("slow_reply", seconds=0.3, times=1))
    assert client.code("test_connection") == 0
    connected, asked = telescope.journal.entries(channel="rpc")
    assert asked.monotonic_s - connected.monotonic_s >= 0.3


@pytest.mark.parametrize(
    ("kind", "is_it"),
    [
        ("text", lambda line: b"overrun" in line),
        ("utf8", lambda line: line.decode("utf-8", "replace") != line.decode("latin-1")),
        ("unknown_id", lambda line: json.loads(line)["id"] == 987_654_321 and len(line) < 1000),
        ("huge", lambda line: json.loads(line)["id"] == 987_654_321 and len(line) > 1_000_000),
    ],
)
def test_garbage_comes_before_the_reply(
    telescope: SimulatedTelescope, client: RawSeestarClient, kind: str, is_it: Callable[[bytes], bool]
) -> None:
    telescope.switch_on(switch("garbage", kind=kind))
    send(client, "test_connection")
    assert is_it(client.read_line())
    assert json.loads(client.read_line())["id"] == 1


def test_garbage_of_any_kind_is_thrown_for(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("garbage"))
    lines = []
    for _ in range(30):
        send(client, "test_connection")
        lines.append(client.read_line()[:60])
        assert json.loads(client.read_line())["code"] == 0
    assert len(set(lines)) >= 4 - 1  # unknown_id and huge begin alike


def test_packets_are_split(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("split_packets", pieces=5))
    at = telescope.endpoint
    with socket.create_connection((at.host, at.rpc_port), 10) as raw:
        raw.sendall(b'{"id":1,"method":"test_connection"}\r\n')
        packets = []
        while not (packets and packets[-1].endswith(b"\n")):
            packets.append(raw.recv(65536))
    assert len(packets) > 1
    assert json.loads(b"".join(packets))["id"] == 1


def test_packets_are_merged_with_events(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("merge_packets"))
    at = telescope.endpoint
    with socket.create_connection((at.host, at.rpc_port), 10) as raw:
        raw.sendall(b'{"id":1,"method":"test_connection"}\r\n')
        received = raw.recv(65536)
        assert received.count(b"\r\n") == 2
        assert not received.endswith(b"\n")
        while received.count(b"\r\n") < 3:
            received += raw.recv(65536)
    event, reply, other = (json.loads(line) for line in received.splitlines())
    assert (event["Event"], reply["id"], other["Event"]) == ("PiStatus", 1, "PiStatus")


def test_idle_close_can_be_set(telescope: SimulatedTelescope, connect: Connect) -> None:
    assert telescope.device.idle_close_s == 15.5
    telescope.switch_on(switch("idle_close", seconds=0.2))
    assert connect(telescope).read_line() == b""
    assert telescope.journal.entries(method="idle close")


def test_latency_makes_every_round_trip_longer(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("latency", seconds=0.1))
    for _ in range(3):
        client.result("test_connection")
    connected, *_, last = telescope.journal.entries(channel="rpc")
    assert last.monotonic_s - connected.monotonic_s >= 0.3


def test_mixed_listings_show_another_folder(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.emmc.target_folder("M 82_sub").joinpath("Light_M 82.fit").touch()
    client.result("get_img_file_page_number", {"dir": SUB})
    telescope.switch_on(switch("mix_listings", times=1))
    [stranger] = client.result("get_img_file_page_name", {"page": 0})
    assert stranger["name"] == "Light_M 82.fit"
    client.result("get_img_file_page_number", {"dir": SUB})
    assert len(client.result("get_img_file_page_name", {"page": 0})) == 12  # four frames, their pictures


def test_hidden_folders_are_in_no_album(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.emmc.target_folder("M 81")
    telescope.switch_on(switch("hide_folders", folders=["M 81_sub"]))
    [group] = client.result("get_albums")["list"]
    assert [album["name"] for album in group["files"]] == ["M 81"]
    assert client.result("get_img_file_page_number", {"dir": SUB}) == 1


def test_somebody_begins_to_observe_at_the_worst_moment(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    client.result("set_batch_stack_setting", {"path": SUB, "files": [{"name": "x"}]})
    telescope.switch_on(switch("observe", methods=["start_batch_stack"], target="M 42"))
    assert client.result("get_view_state")["View"]["state"] == "cancel"
    assert client.code("start_batch_stack") == 207
    assert client.result("get_view_state")["View"]["target_name"] == "M 42"


# --- who it is ---


def test_no_key_is_the_right_one(make_telescope: MakeTelescope, connect: Connect, keys: KeyPair) -> None:
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem)
    assert connect(telescope).authenticate(keys.private_pem) == 0
    telescope.switch_on(switch("refuse_key"))
    assert connect(telescope).authenticate(keys.private_pem) == 207
    telescope.switch_off()
    assert connect(telescope).authenticate(keys.private_pem) == 0


def test_a_telescope_without_a_key_can_refuse_keys_too(
    telescope: SimulatedTelescope, connect: Connect, keys: KeyPair
) -> None:
    telescope.switch_on(switch("refuse_key"))
    client = connect(telescope)
    assert client.code("get_device_state") == 110
    assert client.authenticate(keys.private_pem) == 207


@pytest.mark.parametrize("number", [2427, 2732, 2775, 2889])
def test_another_firmware_speaks_its_dialect(
    telescope: SimulatedTelescope, client: RawSeestarClient, number: int
) -> None:
    telescope.switch_on(switch("firmware", number=number))
    newer = number >= 2775
    assert client.result("get_device_state")["device"]["firmware_ver_int"] == number
    assert client.code("clear_batch_stack") == (0 if newer else 103)
    assert client.code("get_verify_str", "verify") == (103 if number < 2718 else 0)
    name = min(path.name for path in (telescope.emmc.root / SUB).glob("*.fit"))
    assert stack(client, [f"{SUB}/{name}"])["state"] == ("complete" if newer else "fail")
    assert stack(client, [name])["state"] == ("fail" if newer else "complete")


def test_firmware_before_authentication_wants_no_key(
    make_telescope: MakeTelescope, connect: Connect, keys: KeyPair
) -> None:
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem, firmware_ver_int=2706)
    client = connect(telescope)
    assert client.code("get_verify_str", "verify") == 103
    assert client.code("get_device_state") == 0


def test_a_full_telescope_says_so_and_saves_no_stack(
    telescope: SimulatedTelescope, client: RawSeestarClient
) -> None:
    telescope.switch_on(switch("full", free_mb=3))
    assert client.result("get_disk_volume")["freeMB"] == 3
    assert stack(client, frames(telescope))["state"] == "fail"
    telescope.switch_off()
    assert client.result("get_disk_volume")["freeMB"] > 3
    assert stack(client, frames(telescope))["state"] == "complete"


# --- stacks ---


def frames(telescope: SimulatedTelescope) -> list[str]:
    return [f"{SUB}/{path.name}" for path in sorted((telescope.emmc.root / SUB).glob("*.fit"))]


def status(client: RawSeestarClient) -> dict[str, Any]:
    found: dict[str, Any] = client.result("iscope_get_app_state").get("BatchStack", {})
    return found


def stack(client: RawSeestarClient, names: list[str]) -> dict[str, Any]:
    client.result("clear_app_state", {"name": "BatchStack"})
    client.result("set_batch_stack_setting", {"path": SUB, "files": [{"name": name} for name in names]})
    client.result("start_batch_stack")
    eventually(lambda: status(client).get("state") != "working")
    return status(client)


@pytest.mark.parametrize("code", [Code.TOO_FEW_STARS, Code.TRANSFORM_FAILED, Code.NO_IMAGE])
def test_a_stack_fails_with_the_code(
    telescope: SimulatedTelescope, client: RawSeestarClient, code: Code
) -> None:
    telescope.switch_on(switch("fail_stack", code=code, times=1))
    failed = stack(client, frames(telescope))
    assert (failed["state"], failed["code"], failed["error"]) == ("fail", code, code.text)
    assert (failed["stacked_img"], "output_file" in failed) == (2, False)
    assert stack(client, frames(telescope))["state"] == "complete"


def test_a_stack_is_cancelled_from_the_phone(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("cancel_stack", share=1.0))
    cancelled = stack(client, frames(telescope))
    assert (cancelled["state"], cancelled["code"], cancelled["stacked_img"]) == ("cancel", 514, 4)
    assert not list((telescope.emmc.root / "MyWorks").rglob("DSO_*"))


def test_a_stack_stalls_until_it_is_stopped(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("stall_stack", share=0.75))
    client.result(
        "set_batch_stack_setting", {"path": SUB, "files": [{"name": name} for name in frames(telescope)]}
    )
    client.result("start_batch_stack")
    eventually(lambda: status(client).get("stacked_img") == 3)
    assert (client.code("start_batch_stack"), status(client)["state"]) == (207, "working")
    client.result("stop_batch_stack")
    assert status(client)["state"] == "cancel"


def test_a_stack_uses_fewer_frames(telescope: SimulatedTelescope, client: RawSeestarClient) -> None:
    telescope.switch_on(switch("use_fewer", frames=3))
    done = stack(client, frames(telescope))
    assert (done["state"], done["stacked_img"], done["total_img"]) == ("complete", 1, 4)
    assert done["output_file"]["files"][0]["name"].startswith("DSO_Stacked_1_")


# --- power and place ---


def test_a_reboot_loses_the_stack_and_the_connections(
    telescope: SimulatedTelescope, client: RawSeestarClient, connect: Connect
) -> None:
    telescope.switch_on(switch("stall_stack"), switch("reboot", methods=["get_albums"], seconds=0.05))
    telescope.observe("M 81")
    telescope.finish_observing()
    client.result("set_batch_stack_setting", {"path": SUB, "files": [{"name": frames(telescope)[0]}]})
    client.result("start_batch_stack")
    before = telescope.endpoint
    send(client, "get_albums")
    while client.read_line():
        pass  # events, until the telescope hangs up
    eventually(lambda: telescope.journal.entries(method="up"))
    again = connect(telescope)
    assert again.result("iscope_get_app_state").keys() == {"View"}
    assert again.result("get_batch_stack_setting") == {"path": "", "files": []}
    assert float(again.request("test_connection")["Timestamp"]) < 10
    assert telescope.endpoint == before


def test_a_telescope_moves_to_another_address(
    telescope: SimulatedTelescope, client: RawSeestarClient, connect: Connect
) -> None:
    before = telescope.endpoint
    telescope.switch_on(switch("address", host="127.0.0.77"))
    assert client.read_line() == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((before.host, before.rpc_port), 5)
    assert telescope.endpoint.host == "127.0.0.77"
    assert connect(telescope).result("get_device_state")["device"]["sn"] == "1d3fe189"
    telescope.switch_off()
    assert telescope.endpoint == before
    assert connect(telescope).code("test_connection") == 0


def test_a_telescope_on_usb_answers_at_two_addresses(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("second_address", host="127.0.0.78"))
    at = telescope.endpoint
    for host in (at.host, "127.0.0.78"):
        with RawSeestarClient(replace(at, host=host)) as client:
            assert client.result("get_device_state")["device"]["sn"] == "1d3fe189"
        url = f"http://{host}:{at.http_port}/{frames(telescope)[0]}"
        assert requests.get(url, timeout=5).status_code == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        udp.sendto(b'{"id":1,"method":"scan_iscope","params":""}', ("127.255.255.255", at.udp_port))
        assert {udp.recvfrom(4096)[1][0] for _ in range(2)} == {at.host, "127.0.0.78"}


@pytest.mark.parametrize(("silent", "seen"), [(True, TimeoutError), (False, ConnectionRefusedError)])
def test_a_telescope_that_is_switched_off_is_silent_or_refuses(
    telescope: SimulatedTelescope, connect: Connect, silent: bool, seen: type[OSError]
) -> None:
    telescope.switch_on(switch("switched_off", silent=silent))
    at = telescope.endpoint
    for port in (at.rpc_port, at.http_port):
        with pytest.raises(seen):
            socket.create_connection((at.host, port), 0.5)
    assert probe(telescope) is None
    telescope.switch_off()
    assert connect(telescope).code("test_connection") == 0


def test_a_telescope_can_be_off_from_the_start(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(faults={"switched_off": {"silent": False}})
    with pytest.raises(ConnectionRefusedError):
        connect(telescope)
    telescope.switch_off()
    assert connect(telescope).code("test_connection") == 0


def probe(telescope: SimulatedTelescope) -> bytes | None:
    """Ask once who is there; `None` when nobody answers soon."""
    at = telescope.endpoint
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.connect((at.host, at.udp_port))
        try:
            udp.send(b'{"id":1,"method":"scan_iscope","params":""}\n\n')
            return udp.recv(4096)
        except (TimeoutError, ConnectionRefusedError):
            return None


def test_probes_are_lost(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("lose_probe", times=2))
    assert [probe(telescope) is None for _ in range(3)] == [True, True, False]
    assert len(telescope.journal.entries(channel="udp")) == 3


# --- downloads ---


def test_a_download_is_cut_under_its_full_length(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("cut_download", share=0.25, times=1))
    at = telescope.endpoint
    name = frames(telescope)[0]
    size = (telescope.emmc.root / name).stat().st_size
    url = f"http://{at.host}:{at.http_port}/{name}"
    with requests.get(url, timeout=5, stream=True) as response:
        assert int(response.headers["Content-Length"]) == size
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match=str(size // 4)):
            response.content  # noqa: B018 - reading it is what fails
    assert requests.get(url, timeout=5).content == (telescope.emmc.root / name).read_bytes()


def test_a_download_falls_silent(telescope: SimulatedTelescope) -> None:
    telescope.switch_on(switch("stall_download", share=0.25))
    at = telescope.endpoint
    url = f"http://{at.host}:{at.http_port}/{frames(telescope)[0]}"
    with (
        requests.get(url, timeout=0.5, stream=True) as response,
        pytest.raises(requests.exceptions.ConnectionError, match="timed out"),
    ):
        response.content  # noqa: B018 - reading it is what fails


# --- the control port is in test_site.py, renames in test_share_faults.py ---


def test_a_closed_share_is_refused(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.IMPACKET)
    port = telescope.endpoint.smb_port
    socket.create_connection((telescope.endpoint.host, port), 5).close()
    telescope.switch_on(switch("close_share"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((telescope.endpoint.host, port), 5)
    telescope.switch_off()
    assert telescope.endpoint.smb_port == port
    socket.create_connection((telescope.endpoint.host, port), 5).close()
