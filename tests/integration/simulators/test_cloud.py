"""The node cloud's simulator keeps to the API's paper, asked by plain HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from skyrelay_simulators.cloud import Fault, SimulatedCloud
from support.waiting import eventually

CARD = {
    "node_id": "garden",
    "owner_name": "A. Observer",
    "latitude": 48.2,
    "longitude": 16.4,
    "elevation": 200.0,
    "telescope_model": "ZWO Seestar S50",
    "filters": "CV",
    "utc_offset_hours": 1.0,
}
MEASUREMENT = {
    "target_name": "SS Cyg",
    "bjd": 2460753.512345678,
    "magnitude": 11.8,
    "uncertainty": 0.02,
    "filter": "CV",
    "quality_flag": "good",
}
Login = Mapping[str, str]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SimulatedCloud]:
    with SimulatedCloud(tmp_path / "cloud", activation_codes={"BS-2026-ABCDEFGH"}) as running:
        yield running


@pytest.fixture
def login(cloud: SimulatedCloud) -> Login:
    """The headers of a registered node."""
    return register(cloud)


def post(
    cloud: SimulatedCloud, path: str, content: object = None, login: Login | None = None
) -> requests.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": "application/json", **(login or {})}
    return requests.post(f"{cloud.base_url}/api/v1/{path}", data=body, headers=headers, timeout=30)


def get(cloud: SimulatedCloud, path: str, login: Login | None = None) -> requests.Response:
    return requests.get(f"{cloud.base_url}/api/v1/{path}", headers=dict(login or {}), timeout=30)


def send(cloud: SimulatedCloud, path: str, login: Login, name: str, content: bytes) -> requests.Response:
    url, files = f"{cloud.base_url}/api/v1/{path}", {"file": (name, content)}
    return requests.post(url, files=files, headers=dict(login), timeout=30)


def register(cloud: SimulatedCloud, **changes: Any) -> Login:
    answer = post(cloud, "nodes/register", CARD | changes)
    assert answer.status_code == 200
    return {"X-Node-Id": answer.json()["node_id"], "X-Api-Key": answer.json()["api_key"]}


def measure(cloud: SimulatedCloud, login: Login, **changes: Any) -> requests.Response:
    return post(cloud, "measurements", {"measurement": MEASUREMENT | changes, "conditions": {}}, login)


# Registration


def test_a_registered_node_finds_itself_in_the_registry(cloud: SimulatedCloud, login: Login) -> None:
    entry = get(cloud, "nodes/me", login).json()

    assert {name: entry[name] for name in CARD} == CARD
    assert (entry["status"], entry["online"], entry["last_conditions"]) == ("active", True, {})
    assert "api_key" not in entry
    assert [node.node_id for node in cloud.nodes] == ["garden"]


@pytest.mark.parametrize("missing", ["", None])
def test_a_node_without_a_name_is_given_one(cloud: SimulatedCloud, missing: str | None) -> None:
    first, second = register(cloud, node_id=missing), register(cloud, node_id=missing)

    assert first["X-Node-Id"].startswith("node_")
    assert first["X-Node-Id"] != second["X-Node-Id"]


@pytest.mark.parametrize(
    "place",
    [
        {"latitude": 0.0, "longitude": 0.0},
        {"latitude": 90.1},
        {"longitude": -180.1},
        {"latitude": float("nan")},
    ],
)
def test_a_place_nowhere_on_earth_is_400(cloud: SimulatedCloud, place: dict[str, float]) -> None:
    answer = post(cloud, "nodes/register", CARD | place)

    assert answer.status_code == 400
    assert "latitude/longitude" in answer.json()["error"]
    assert cloud.nodes == []


@pytest.mark.parametrize("content", [{}, b"", b"no JSON", {"node_id": "garden"}])
def test_a_missing_place_is_400(cloud: SimulatedCloud, content: object) -> None:
    assert post(cloud, "nodes/register", content).status_code == 400


def test_a_node_is_its_owners_alone(cloud: SimulatedCloud, login: Login) -> None:
    for key in ({}, {"api_key": "guessed"}):
        answer = post(cloud, "nodes/register", CARD | {"owner_name": "Mallory"} | key)
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "node_id already registered with a different API key"},
        )

    again = register(cloud, owner_name="B. Observer", api_key=login["X-Api-Key"])

    assert again == login
    assert get(cloud, "nodes/me", login).json()["owner_name"] == "B. Observer"


def test_a_wrong_activation_code_is_a_warning_and_no_refusal(cloud: SimulatedCloud) -> None:
    warnings = [
        post(cloud, "nodes/register", CARD | {"node_id": f"n{number}", "activation_code": code})
        .json()
        .get("activation_warning")
        for number, code in enumerate(["bs-2026-abcdefgh", "BS-2026-ABCDEFGH", "BS-2026-XXXXXXXX"])
    ]

    assert warnings == [None, "activation code already used", "activation code not found: BS-2026-XXXXXXXX"]
    assert len(cloud.nodes) == 3


# Login


@pytest.mark.parametrize(
    "wrong",
    [{"X-Api-Key": "guessed"}, {"X-Api-Key": ""}, {"X-Node-Id": "other"}, {"X-Node-Id": "", "X-Api-Key": ""}],
)
def test_wrong_credentials_are_401_everywhere(cloud: SimulatedCloud, login: Login, wrong: Login) -> None:
    answers = [get(cloud, path, {**login, **wrong}) for path in ("nodes/me", "plan", "interrupts")]
    answers += [
        post(cloud, path, {}, {**login, **wrong})
        for path in ("nodes/heartbeat", "interrupts/1/ack", "measurements", "images", "aavso-files")
    ]

    assert [answer.status_code for answer in answers] == [401] * 8
    assert {answer.json()["error"] for answer in answers} == {"invalid node credentials"}


def test_a_revoked_key_is_401(cloud: SimulatedCloud, login: Login) -> None:
    assert post(cloud, "nodes/heartbeat", {}, login).status_code == 200
    assert requests.post(f"{cloud.base_url}/_sim/nodes/garden/revoke", timeout=30).json() == {"ok": True}

    assert post(cloud, "nodes/heartbeat", {}, login).status_code == 401


# Heartbeat


def test_a_heartbeat_replaces_the_conditions(cloud: SimulatedCloud, login: Login) -> None:
    post(cloud, "nodes/heartbeat", {"conditions": {"cloud": 0.5, "utc_offset_hours": 1}}, login)
    answer = post(cloud, "nodes/heartbeat", {"conditions": {"utc_offset_hours": 2}}, login).json()
    post(cloud, "nodes/heartbeat", {}, login)  # none at all: those that are there stay

    assert answer["ok"] is True
    off = datetime.now(UTC) - datetime.fromisoformat(answer["server_time"])
    assert abs(off.total_seconds()) < 60
    assert get(cloud, "nodes/me", login).json()["last_conditions"] == {"utc_offset_hours": 2}


# Plan


def test_without_a_plan_there_is_a_message(cloud: SimulatedCloud, login: Login) -> None:
    assert get(cloud, "plan", login).json() == {"plan": None, "message": "no observable night window"}


def test_plan_items_come_in_the_order_of_the_text_of_their_start(cloud: SimulatedCloud, login: Login) -> None:
    items = [{"target": "SS Cyg", "startTime": "23:16"}, {"target": "T CrB", "startTime": "02:01"}]
    order = {"items": items, "night": "2026-02-28"}
    plan_id = requests.post(f"{cloud.base_url}/_sim/plan", json=order, timeout=30).json()["plan_id"]

    plan = get(cloud, "plan", login).json()["plan"]

    assert (plan["plan_id"], plan["node_id"], plan["night"]) == (plan_id, "garden", "2026-02-28")
    assert datetime.fromisoformat(plan["generated_at"]).tzinfo is not None
    assert [item["startTime"] for item in plan["items"]] == ["02:01", "23:16"]
    assert get(cloud, "plan", login).json()["plan"]["plan_id"] == plan_id


def test_a_plan_of_its_own_goes_before_everybodys(cloud: SimulatedCloud, login: Login) -> None:
    cloud.set_plan([], node_id="garden", plan_id="own")
    cloud.set_plan([], plan_id="everybody's")
    other = register(cloud, node_id="roof")

    assert get(cloud, "plan", login).json()["plan"]["plan_id"] == "own"
    assert get(cloud, "plan", other).json()["plan"] | {"generated_at": ""} == {
        "plan_id": "everybody's",
        "node_id": "roof",
        "night": datetime.now(UTC).date().isoformat(),
        "generated_at": "",
        "items": [],
    }
    requests.delete(f"{cloud.base_url}/_sim/plan?node_id=garden", timeout=30)
    assert get(cloud, "plan", login).json()["plan"]["plan_id"] == "everybody's"


# Interrupts


def test_an_acknowledged_interrupt_stays_in_the_list(cloud: SimulatedCloud, login: Login) -> None:
    order = {"name": "GRB", "ra_deg": 999.0, "dec_deg": 12.345678, "mag": 16.5, "reason": "Swift"}
    number = requests.post(f"{cloud.base_url}/_sim/interrupts", json=order, timeout=30).json()["id"]
    (shown,) = get(cloud, "interrupts", login).json()["interrupts"]

    assert post(cloud, f"interrupts/{number}/ack", {}, login).json() == {"ok": True}
    assert post(cloud, f"interrupts/{number}/ack", {}, login).json() == {"ok": True}

    assert (shown["id"], shown["ra"], shown["dec"], shown["acked"]) == (number, 66.6, 12.3457, False)
    assert shown["created_at"] < shown["expires_at"]
    assert {**shown, "acked": True} == get(cloud, "interrupts", login).json()["interrupts"][0]
    other = register(cloud, node_id="roof")
    assert get(cloud, "interrupts", other).json()["interrupts"][0]["acked"] is False
    assert cloud.interrupts[0].acked_by == ("garden",)


def test_interrupts_that_are_not_for_the_node_are_not_shown(cloud: SimulatedCloud, login: Login) -> None:
    cloud.interrupt("expired", 1.0, 2.0, expires_hours=-0.1)
    cloud.interrupt("other", 1.0, 2.0, node_ids=("roof",))
    cloud.interrupt("ours", 1.0, 2.0, node_ids=("garden",))

    assert [each["name"] for each in get(cloud, "interrupts", login).json()["interrupts"]] == ["ours"]


def test_an_unknown_interrupt_is_404(cloud: SimulatedCloud, login: Login) -> None:
    answer = post(cloud, "interrupts/7/ack", {}, login)

    assert (answer.status_code, answer.json()) == (404, {"error": "unknown interrupt"})


# Measurements


def test_a_measurement_is_taken_once(cloud: SimulatedCloud, login: Login) -> None:
    first, again = measure(cloud, login), measure(cloud, login, magnitude=12.0)

    assert first.json() == {"ok": True, "id": 1}
    assert (again.status_code, again.json()) == (200, {"ok": True, "id": None, "duplicate": True})
    (kept,) = cloud.measurements
    assert (kept.node_id, kept.measurement["magnitude"]) == ("garden", 11.8)


@pytest.mark.parametrize(
    "change",
    [{"target_name": "T CrB"}, {"bjd": 2460753.512345679}, {"filter": "V"}],
    ids=lambda c: next(iter(c)),
)
def test_another_identity_is_another_measurement(
    cloud: SimulatedCloud, login: Login, change: dict[str, object]
) -> None:
    measure(cloud, login)

    assert measure(cloud, login, **change).json() == {"ok": True, "id": 2}


def test_the_node_is_that_of_the_login(cloud: SimulatedCloud, login: Login) -> None:
    measure(cloud, login, node_id="somebody else")
    other = register(cloud, node_id="roof")

    assert "duplicate" not in measure(cloud, other).json()
    assert [each.measurement["node_id"] for each in cloud.measurements] == ["garden", "roof"]


@pytest.mark.parametrize(
    "change",
    [
        {"bjd": 2400000.0},
        {"bjd": 2500000.0},
        {"bjd": float("nan")},
        {"magnitude": 30.0},
        {"magnitude": -5.0},
        {"magnitude": float("nan")},
        {"magnitude": float("inf")},
        {"uncertainty": 5.0},
        {"uncertainty": -0.01},
        {"quality_flag": "excellent"},
        {"target_name": ""},
    ],
    ids=str,
)
def test_out_of_bounds_is_400(cloud: SimulatedCloud, login: Login, change: dict[str, object]) -> None:
    answer = measure(cloud, login, **change)

    assert (answer.status_code, answer.json()) == (
        400,
        {"ok": False, "error": "measurement failed validation bounds"},
    )
    assert cloud.measurements == []


@pytest.mark.parametrize(
    "content",
    [
        {"measurement": MEASUREMENT | {"bjd": "2460753.5"}},
        {"measurement": MEASUREMENT | {"magnitude": None}},
        {"measurement": MEASUREMENT | {"uncertainty": [0.02]}},
        {"measurement": [MEASUREMENT]},
        {"measurement": MEASUREMENT, "conditions": "clear"},
        [MEASUREMENT],
    ],
    ids=["text", "null", "list", "list-of-it", "conditions", "no-object"],
)
def test_a_wrong_type_is_500_with_a_page(cloud: SimulatedCloud, login: Login, content: object) -> None:
    answer = post(cloud, "measurements", content, login)

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert cloud.measurements == []


def test_what_its_table_cannot_hold_is_400(cloud: SimulatedCloud, login: Login) -> None:
    answer = measure(cloud, login, snr="high")

    assert (answer.status_code, answer.json()) == (400, {"ok": False, "error": "storage error"})


def test_a_missing_magnitude_is_kept_as_zero(cloud: SimulatedCloud, login: Login) -> None:
    bare = {name: value for name, value in MEASUREMENT.items() if name != "magnitude"}

    assert post(cloud, "measurements", bare, login).status_code == 200
    assert cloud.measurements[0].measurement["magnitude"] == 0.0


# Files


def test_an_image_of_the_same_name_and_day_is_overwritten(cloud: SimulatedCloud, login: Login) -> None:
    first = send(cloud, "images", login, "../M 94.fit", b"first")
    again = send(cloud, "images", login, "M 94.fit", b"second")

    assert first.status_code == 200
    assert first.json() == again.json()
    assert first.json()["stored"].endswith("/M_94.fit")
    (image,) = cloud.images
    assert (cloud.stored_bytes(image), image.times_sent) == (b"second", 2)


def test_images_of_two_nodes_do_not_meet(cloud: SimulatedCloud, login: Login) -> None:
    send(cloud, "images", login, "a.fit", b"garden's")
    send(cloud, "images", register(cloud, node_id="../roof"), "a.fit", b"roof's")

    assert [cloud.stored_bytes(image) for image in cloud.images] == [b"garden's", b"roof's"]


def test_an_image_that_is_too_long_or_missing_is_400(tmp_path: Path) -> None:
    with SimulatedCloud(tmp_path, most_image_bytes=10) as cloud:
        login = register(cloud)
        answers = [send(cloud, "images", login, "a.fit", bytes(11)), post(cloud, "images", {}, login)]

        assert [answer.status_code for answer in answers] == [400, 400]
        assert answers[1].json() == {"error": "no file in upload"}
        assert cloud.images == []
    assert list((tmp_path / "files").iterdir()) == []


def test_aavso_files_of_one_name_are_all_kept(cloud: SimulatedCloud, login: Login) -> None:
    paths = [send(cloud, "aavso-files", login, "obs.csv", b"#TYPE=Extended").json()["path"] for _ in range(3)]

    day = datetime.now(UTC).date().isoformat()
    assert paths == [f"{day}/obs.csv.txt", f"{day}/obs.csv_1.txt", f"{day}/obs.csv_2.txt"]
    assert len(cloud.aavso_files) == 3


@pytest.mark.parametrize(("size", "status"), [(512 * 1024, 200), (512 * 1024 + 1, 400)])
def test_an_aavso_file_has_512_kib_at_most(
    cloud: SimulatedCloud, login: Login, size: int, status: int
) -> None:
    answer = send(cloud, "aavso-files", login, "obs.txt", b"x" * size)

    assert answer.status_code == status
    assert len(cloud.aavso_files) == (status == 200)


# Journal, faults, memory


def test_every_request_is_in_the_journal_without_keys(cloud: SimulatedCloud, login: Login) -> None:
    register(cloud, api_key=login["X-Api-Key"])
    measure(cloud, login)
    send(cloud, "images", login, "a.fit", b"pixels")
    post(cloud, "interrupts/9/ack", {}, login)

    seen = [(entry.endpoint, entry.status, entry.user) for entry in cloud.requests()]
    assert seen == [
        ("register", 200, None),
        ("register", 200, None),
        ("measurements", 200, "garden"),
        ("images", 200, "garden"),
        ("ack", 404, "garden"),
    ]
    journal = requests.get(f"{cloud.base_url}/_sim/journal", timeout=30)
    assert journal.json()[2]["content"]["measurement"]["bjd"] == MEASUREMENT["bjd"]
    assert journal.json()[3]["files"][0]["sha256"] == hashlib.sha256(b"pixels").hexdigest()
    assert login["X-Api-Key"] not in journal.text
    assert login["X-Api-Key"] not in requests.get(f"{cloud.base_url}/_sim/nodes", timeout=30).text


def test_it_fails_when_it_is_told_to(cloud: SimulatedCloud, login: Login) -> None:
    faults = [
        {"mode": "status", "status": 503, "retry_after": 5, "times": 1},
        {"mode": "html-200", "times": 1},
    ]
    requests.post(f"{cloud.base_url}/_sim/faults", json={"heartbeat": faults}, timeout=30)
    beats = [post(cloud, "nodes/heartbeat", {}, login) for _ in range(3)]

    assert [beat.status_code for beat in beats] == [503, 200, 200]
    assert beats[0].headers["Retry-After"] == "5"
    assert beats[1].text.startswith("<!DOCTYPE html>")
    assert beats[2].json()["ok"] is True


def test_it_can_keep_a_measurement_and_hang_up(cloud: SimulatedCloud, login: Login) -> None:
    cloud.show("measurements", Fault(mode="drop-after-store", times=1))

    with pytest.raises(requests.ConnectionError):
        measure(cloud, login)
    assert measure(cloud, login).json()["duplicate"] is True


def test_an_unknown_address_is_its_web_site(cloud: SimulatedCloud, login: Login) -> None:
    page = get(cloud, "nodes/you", login)

    assert (page.status_code, page.text[:15]) == (200, "<!DOCTYPE html>")
    assert post(cloud, "nodes/you", {}, login).status_code == 404
    assert post(cloud, "plan", {}, login).status_code == 405


def test_what_it_holds_outlives_it(tmp_path: Path) -> None:
    with SimulatedCloud(tmp_path) as first:
        login = register(first)
        measure(first, login)
        first.set_plan([], plan_id="kept")
    with SimulatedCloud(tmp_path) as second:
        assert measure(second, login).json()["duplicate"] is True
        assert get(second, "plan", login).json()["plan"]["plan_id"] == "kept"


def test_as_a_program_it_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = ["simulate", "cloud", "--data-dir", tmp_path / "data", "--port", "0", "--ready-file", ready]
    with subprocess.Popen(
        [sys.executable, "-m", "skyrelay.cli", *command], stderr=subprocess.PIPE
    ) as program:
        try:
            eventually(ready.exists)
            base_url = json.loads(ready.read_text())["base_url"]
            assert requests.get(base_url + "/api/v1/plan", timeout=30).status_code == 401
        finally:
            os.kill(program.pid, signal.SIGTERM)
        _, said = program.communicate(timeout=15)
    assert (program.returncode, said) == (0, b"")
