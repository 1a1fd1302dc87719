"""``skyrelay discover`` as a process, without any service running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyrelay.service import utc_now
from skyrelay.settings import load_settings
from skyrelay.settings_page import KEYS_FOLDER
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.page_settings import change_settings
from skyrelay.store.secrets import SecretStore
from skyrelay_simulators.telescope import KeyPair, SimulatedTelescope, generate_key_pair
from support.ports import free_port
from support.telescopes import MakeTelescope, make_telescope, settings_of

__all__ = ["make_telescope"]

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
ENVIRONMENT["COLUMNS"] = "240"


def discover(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skyrelay.cli", "discover", "--config", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)


def found(config: Path, *arguments: str) -> list[dict[str, Any]]:
    done = discover(config, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def configured(folder: Path, telescope: SimulatedTelescope | None = None, **changes: Any) -> Path:
    """Configure a telescope, and look for it where it is (telescopes of life are found by broadcast)."""
    at = telescope.endpoint if telescope else None
    entries = (
        [settings_of(telescope, **changes).model_dump(mode="json", exclude_none=True)] if telescope else []
    )
    settings = {
        "gateway": {"host": "127.0.0.1", "port": free_port()},
        "telescopes": entries,
        "data_dir": str(folder / "data"),
        "discovery": {"addresses": [f"{at.host}:{at.udp_port}"] if at else []},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


def test_a_configured_telescope_is_asked_with_its_key(
    make_telescope: MakeTelescope, keys: KeyPair, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(keys.private_pem)
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem)
    telescope.observe("M 31")
    config = configured(tmp_path, telescope, key_path=tmp_path / "key.pem")
    (seen,) = found(config)
    assert (seen["name"], seen["serial"], seen["state"]) == ("garden", telescope.spec.serial, "observing")
    assert seen["what_to_do"] == ""
    table = discover(config).stdout
    assert "it is observing M 31" in table
    assert "PRIVATE" not in table


def test_one_that_was_added_on_the_page_is_known_with_its_key(
    make_telescope: MakeTelescope, keys: KeyPair, tmp_path: Path
) -> None:
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem)
    entry = settings_of(telescope).model_dump(
        mode="json", exclude_none=True, exclude={"smb_share", "smb_port"}
    )
    settings = load_settings(configured(tmp_path), {})
    (settings.data_dir / KEYS_FOLDER).mkdir(parents=True)
    (settings.data_dir / KEYS_FOLDER / "0123.pem").write_bytes(keys.private_pem)
    store = Store(settings.database)
    migrate(store)
    changes = {"telescopes": [{**entry, "name": "roof", "key_path": "keys/0123.pem"}]}
    secrets = SecretStore(store, settings.key_path)
    with store.write() as session:
        change_settings(session, settings, changes, secrets=secrets, now=utc_now(), actor="test")
    store.close()
    at = telescope.endpoint
    (seen,) = found(tmp_path / "config.yaml", "--address", f"{at.host}:{at.udp_port}")
    assert (seen["name"], seen["serial"], seen["state"]) == ("roof", telescope.spec.serial, "ready")


def test_one_that_moved_is_shown_with_both_addresses_and_what_to_do(
    make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope(host="127.0.0.2")
    config = configured(tmp_path, telescope, host="127.0.0.1", serial=telescope.spec.serial)
    (seen,) = found(config)
    assert (seen["hosts"], seen["configured_host"], seen["state"]) == (["127.0.0.2"], "127.0.0.1", "ready")
    words = "address changed: configured 127.0.0.1, answers at 127.0.0.2: set telescopes[garden].host"
    assert words in seen["what_to_do"]
    assert words in discover(config).stdout


def test_one_at_a_given_address_that_is_not_configured_comes_with_its_lines(
    make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope()
    at = telescope.endpoint
    (seen,) = found(configured(tmp_path), "--address", f"{at.host}:{at.udp_port}")
    assert (seen["name"], seen["serial"]) == (None, telescope.spec.serial)
    assert f"host: {at.host}, serial: {telescope.spec.serial}" in seen["what_to_do"]


def test_nobody_there_is_said_with_what_to_try_and_is_no_success(tmp_path: Path) -> None:
    done = discover(configured(tmp_path), "--address", "127.0.0.9")
    assert done.returncode == 1
    assert "No telescope answers." in done.stdout
    assert "--address" in done.stdout


@pytest.mark.parametrize("address", ["10.0.0.0/8", "a b", "host:99999"])
def test_an_address_that_is_none_is_refused_in_words(tmp_path: Path, address: str) -> None:
    done = discover(configured(tmp_path), "--address", address)
    assert done.returncode == 2
    assert "skyrelay: --address" in done.stderr
