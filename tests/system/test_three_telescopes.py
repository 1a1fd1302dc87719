"""What a person sees of three telescopes: one observing, one without its key, one switched off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec, generate_key_pair
from support.ports import free_port
from support.waiting import eventually

pytestmark = pytest.mark.system

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
ENVIRONMENT["COLUMNS"] = "200"
NAMES = ("garden", "balcony", "roof")


@dataclass(frozen=True, slots=True)
class Home:
    """A home whose services run."""

    config: Path

    def skyrelay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        command = [sys.executable, "-m", "skyrelay.cli", *arguments, "--config", str(self.config)]
        return subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
        )

    def states(self) -> dict[str, Any]:
        """Give what the services say of each telescope, by name; nothing before they answer."""
        done = self.skyrelay("status", "--json")
        telescopes = json.loads(done.stdout)["telescopes"] if done.returncode == 0 else []
        return {each["name"]: each for each in telescopes}

    def has_met_all(self) -> bool:
        """Tell whether each telescope was asked."""
        states = [each["state"] for each in self.states().values()]
        return len(states) == len(NAMES) and "unknown" not in states

    def discover(self) -> dict[str, Any]:
        """Give what ``discover`` finds, by name."""
        done = self.skyrelay("discover", "--json")
        assert done.returncode == 0, done.stderr
        return {each["name"]: each for each in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Let the services meet the three telescopes."""
    folder = tmp_path_factory.mktemp("three")
    with ExitStack() as running:
        telescopes = _telescopes(folder)
        for telescope in telescopes.values():
            running.enter_context(telescope)
        telescopes["garden"].observe("M 31")
        config = _write_config(folder, telescopes)
        telescopes["roof"].stop()
        running.enter_context(_services(config))
        home = Home(config)
        eventually(home.has_met_all, 120)
        yield home


def _telescopes(folder: Path) -> dict[str, SimulatedTelescope]:
    locked = {"wants_key": True, "public_key_pem": generate_key_pair().public_pem}
    traits: dict[str, dict[str, Any]] = {"garden": {}, "balcony": locked, "roof": {"model": "Seestar S30"}}
    return {
        name: SimulatedTelescope(
            TelescopeSpec(
                serial=f"1d3fe1{number}",
                root=folder / name,
                host=f"127.0.1.{number}",
                smb_backend=SmbBackend.OFF,
                **traits[name],
            )
        )
        for number, name in enumerate(NAMES, 1)
    }


def _write_config(folder: Path, telescopes: dict[str, SimulatedTelescope]) -> Path:
    entries = []
    for name, telescope in telescopes.items():
        at = telescope.endpoint
        ports = {
            "rpc_port": at.rpc_port,
            "http_port": at.http_port,
            "discovery_port": at.udp_port,
            "smb_port": 1,
        }
        entries.append({"name": name, "host": at.host, **ports})
    port, flower = free_port(), free_port()
    config = {
        "data_dir": str(folder / "data"),
        "setup": "done",
        "gateway": {"host": "127.0.0.1", "port": port},
        "flower": {"port": flower, "url": f"http://127.0.0.1:{flower}"},
        "crowdsky": {"enabled": False},
        "scheduler": {"reconcile_s": 1},
        "telescopes": entries,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@contextmanager
def _services(config: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "skyrelay.cli", "up", "--config", str(config)]
    with config.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize("look", [Home.states, Home.discover], ids=["status", "discover"])
def test_what_each_is_doing_reads_differently(home: Home, look: Callable[[Home], dict[str, Any]]) -> None:
    seen = look(home)
    assert {name: seen[name]["state"] for name in NAMES} == {
        "garden": "observing",
        "balcony": "key missing",
        "roof": "unreachable",
    }
    assert "it is observing M 31" in seen["garden"]["reason"]
    assert "set telescopes[balcony].key_path" in seen["balcony"]["reason"]
    assert "refuses port" in seen["roof"]["reason"]
    assert (seen["roof"]["reach"], seen["balcony"]["reach"]) == ("refused", "answers")


def test_status_says_since_when_and_in_few_words(home: Home) -> None:
    seen = home.states()
    assert all(each["state_since"] for each in seen.values())
    assert [seen[name]["words"] for name in NAMES] == [
        "Observing",
        "Wants a key that we do not have",
        "On, but its program does not run",
    ]
    table = home.skyrelay("status").stdout
    assert all(each["words"] in table for each in seen.values())


def test_discover_knows_the_serial_of_one_that_wants_a_key_and_none_of_one_that_was_never_met(
    home: Home,
) -> None:
    seen = home.discover()
    assert [seen[name]["serial"] for name in NAMES] == ["1d3fe11", "1d3fe12", None]
    table = home.skyrelay("discover").stdout
    assert all(name in table for name in NAMES)


def test_discover_finds_nobody_at_an_address_without_a_telescope(home: Home) -> None:
    done = home.skyrelay("discover", "--address", "127.0.9.9", "--json")
    assert {each["name"] for each in json.loads(done.stdout)} == set(NAMES)
    wrong = home.skyrelay("discover", "--address", "10.0.0.0/8")
    assert (wrong.returncode, "too many hosts" in wrong.stderr) == (2, True)
