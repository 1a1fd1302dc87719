"""A site as a program: ready line, control port, clean end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from skyrelay.seestar.discovery import discover
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.settings import TelescopeSettings, load_settings
from skyrelay_simulators.site import Site, SiteFileError, load_site
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

_PROGRAM = "from skyrelay_simulators.program import simulate; simulate()"
_SITE = """
telescopes:
  - telescope: {{serial: garden, root: {root}/garden, timezone: Europe/Vienna, smb_backend: "off"}}
    night:
      width: 64
      height: 96
      targets:
        - {{target: M 81, ra_deg: 148.9, dec_deg: 69.1, start: 2026-02-27T21:00:00+01:00, frames: 5}}
        - {{target: M 82, ra_deg: 148.9, dec_deg: 69.7, start: 2026-02-27T21:15:00+01:00, duration: PT2M}}
  - telescope: {{serial: roof, root: {root}/roof, smb_backend: "off"}}
"""


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A site of two telescopes, one of which has a night."""
    path = tmp_path / "site.yaml"
    path.write_text(_SITE.format(root=tmp_path))
    return path


@contextmanager
def _running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-W", "error", "-c", _PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            yield program, json.loads(program.stdout.readline())
        finally:
            program.kill()


def test_a_site_is_driven_over_its_control_port(site_file: Path, tmp_path: Path) -> None:
    told = tmp_path / "endpoints.json"
    with _running("telescope", "--site", site_file, "--endpoints", told) as (program, ready):
        control = ready["control"]
        assert json.loads(told.read_text()) == ready == requests.get(f"{control}/endpoints", timeout=5).json()
        assert [telescope["serial"] for telescope in ready["telescopes"]] == ["garden", "roof"]
        before = requests.get(f"{control}/night", timeout=5).json()
        assert (before["started"], before["written"], before["total"]) == (False, 0, 15)
        assert requests.post(f"{control}/night/start", timeout=5).json() == {"began": True}
        assert requests.post(f"{control}/night/start", timeout=5).json() == {"began": False}
        night = eventually(lambda: _night_if_done(control))
        assert (night["written"], night["telescopes"][0]["error"]) == (15, None)
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    assert not told.exists()
    assert len(list((tmp_path / "garden/MyWorks/M 82_sub").glob("*.fit"))) == 10


def _night_if_done(control: str) -> dict[str, Any]:
    night: dict[str, Any] = requests.get(f"{control}/night", timeout=5).json()
    return night if night["done"] else {}


def test_observing_and_the_journal_are_within_reach(site_file: Path) -> None:
    with _running("telescope", "--site", site_file) as (program, ready):
        control = ready["control"]
        wish = {"serial": "roof", "observing": True, "target": "M 1"}
        assert requests.post(f"{control}/observe", json=wish, timeout=5).json()["observing"] is True
        states = requests.get(f"{control}/state", timeout=5).json()["telescopes"]
        assert [(state["serial"], state["target"]) for state in states] == [("garden", None), ("roof", "M 1")]
        requests.post(f"{control}/observe", json={**wish, "observing": False}, timeout=5)
        [state] = requests.get(f"{control}/state", params={"serial": "roof"}, timeout=5).json()["telescopes"]
        assert state["observing"] is False
        roof = ready["telescopes"][1]
        requests.get(f"http://{roof['host']}:{roof['http_port']}/MyWorks/x", timeout=5)
        entries = requests.get(f"{control}/journal", params={"serial": "roof"}, timeout=5).json()["entries"]
        told = [(entry["channel"], entry["method"], entry["code"]) for entry in entries]
        assert told == [("telescope", "observing", 0), ("telescope", "idle", 0), ("http", "GET", 404)]
        for wrong in ({"target": "M 1"}, {"serial": "nobody"}):
            assert requests.post(f"{control}/observe", json=wrong, timeout=5).status_code == 400
        assert requests.post(f"{control}/observe", data="[", timeout=5).status_code == 400
        assert requests.get(f"{control}/nothing", timeout=5).status_code == 404
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0


def test_faults_are_switched_while_it_runs(site_file: Path) -> None:
    with _running("telescope", "--site", site_file) as (program, ready):
        control, roof = ready["control"], ready["telescopes"][1]
        drop = {"serial": "roof", "switch": "drop", "odds": 0.5, "times": 3}
        board = requests.post(f"{control}/faults", json=drop, timeout=5).json()
        assert (board["on"]["drop"]["odds"], board["on"]["drop"]["times"]) == (0.5, 3)
        requests.post(f"{control}/faults", json={"serial": "roof", "switch": "switched_off"}, timeout=5)
        with pytest.raises(OSError, match="timed out"):
            socket.create_connection((roof["host"], roof["rpc_port"]), 0.5)
        off = {"serial": "roof", "switch": "switched_off", "on": False}
        assert list(requests.post(f"{control}/faults", json=off, timeout=5).json()["on"]) == ["drop"]
        socket.create_connection((roof["host"], roof["rpc_port"]), 5).close()
        shown = requests.get(f"{control}/faults", params={"serial": "roof"}, timeout=5).json()
        assert list(shown["on"]) == ["drop"]
        seed = {"serial": "roof", "seed": 5}
        assert requests.post(f"{control}/faults/seed", json=seed, timeout=5).status_code == 200
        assert requests.post(f"{control}/faults/clear", json={"serial": "roof"}, timeout=5).json()["on"] == {}
        for wrong in (
            {"switch": "explode"},
            {"switch": "drop", "odds": 2},
            {"switch": "address", "host": "x y"},
        ):
            answer = requests.post(f"{control}/faults", json={"serial": "roof", **wrong}, timeout=5)
            assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
        requests.post(f"{control}/faults/clear", json={"serial": "roof"}, timeout=5)
        back = requests.post(f"{control}/reboot", json={"serial": "roof", "seconds": 0}, timeout=5)
        assert back.json()["serial"] == "roof"
        assert requests.get(f"{control}/conduct", params={"serial": "roof"}, timeout=5).json() == {
            "broken": []
        }
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0


def test_a_site_begins_with_its_faults_its_clock_and_what_is_observed(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        f"clock: {{start: 2026-02-27T21:00:00+01:00, speed: 600}}\n"
        "telescopes:\n"
        "  - observing: M 31\n"
        "    telescope:\n"
        f"      {{serial: a, root: {tmp_path}/a, smb_backend: 'off', faults: {{full: {{free_mb: 7}}}}}}\n"
    )
    with Site(load_site(path)) as site:
        [telescope] = site.telescopes
        assert telescope.observing
        with RawSeestarClient(telescope.endpoint) as client:
            assert client.result("get_disk_volume")["freeMB"] == 7
            first = client.result("pi_get_time")
            assert (first["year"], first["mon"], first["day"]) == (2026, 2, 27)
            eventually(lambda: client.result("pi_get_time")["min"] >= 10)


def test_the_garden_has_one_that_observes_one_that_is_locked_and_one_that_is_off(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    with _running("garden", "--folder", folder, "--control-port", "0") as (program, ready):
        meadow, shed, _ = ready["telescopes"]
        states = requests.get(f"{ready['control']}/state", timeout=5).json()["telescopes"]
        assert [(state["observing"], state["faults"]) for state in states] == [
            (True, []),
            (states[1]["observing"], []),
            (False, ["switched_off"]),
        ]
        found = discover(["127.255.255.255"], listen=timedelta(seconds=1))
        assert {telescope.serial: telescope.host for telescope in found} == {
            meadow["serial"]: meadow["host"],
            shed["serial"]: shed["host"],
        }
        seen = {setting.name: _state(setting) for setting in load_settings(folder / "config.yaml").telescopes}
        assert seen == {"meadow": "observing", "shed": "key missing", "roof": "unreachable"}
        assert (folder / "seestar.pem").stat().st_mode & 0o077 == 0
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0


def _state(setting: TelescopeSettings) -> str:
    address = TelescopeAddress(setting.host, setting.rpc_port, name=setting.name)
    with Seestar(address, connect=timedelta(seconds=1), reply=timedelta(seconds=5)) as telescope:
        return str(telescope.state().state).replace("_", " ")


def test_one_telescope_needs_no_file(tmp_path: Path) -> None:
    options = ["--root", tmp_path, "--serial", "solo", "--rpc-port", "0", "--udp-port", "0", "--smb", "off"]
    with _running("telescope", *options) as (program, ready):
        assert [telescope["serial"] for telescope in ready["telescopes"]] == ["solo"]
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0


def test_a_night_can_be_written_without_a_telescope(tmp_path: Path) -> None:
    arguments = ["night", "--root", tmp_path, "--count", "3", "--width", "64", "--height", "96"]
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("3 of 3 frames")
    assert len(list((tmp_path / "MyWorks" / "M 81_sub").glob("*.fit"))) == 3


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("serial: roof", "serail: roof", "serail"),
        ("frames: 5", "frames: many", "frames"),
        ("start: 2026-02-27T21:00:00+01:00", "start: tonight", "start"),
        ("telescopes:", "telescopes: [", "site.yaml"),
    ],
)
def test_a_wrong_site_file_is_named(site_file: Path, old: str, new: str, named: str) -> None:
    site_file.write_text(site_file.read_text().replace(old, new, 1))
    with pytest.raises(SiteFileError, match=named):
        load_site(site_file)


def test_a_wrong_site_file_ends_the_program_with_2(site_file: Path) -> None:
    site_file.write_text("telescopes: none")
    command = [sys.executable, "-c", _PROGRAM, "telescope", "--site", str(site_file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "telescopes" in run.stderr
    assert "Traceback" not in run.stderr
