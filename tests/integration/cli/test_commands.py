"""The commands that ask the gateway, as processes, against a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from skyrelay.access.local_token import write_local_token
from skyrelay.access.tokens import Scope
from skyrelay.domain.states import BlockState
from skyrelay.store.engine import Store
from skyrelay.version import __version__
from support.gateway import GatewayClient, make_token, running_gateway
from support.ports import free_port
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock


def skyrelay(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
    command = [sys.executable, "-m", "skyrelay.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    with running_gateway(store, redis_server.url) as client:
        yield client


@pytest.fixture
def config(store: Store, gateway: GatewayClient, tmp_path: Path) -> str:
    write_local_token(tmp_path / "data", make_token(store, Scope.CONTROL) or "")
    return write_config(tmp_path, urlsplit(gateway.address).port or 0)


def write_config(folder: Path, port: int) -> str:
    file = folder / "config.yaml"
    settings = {"data_dir": str(folder / "data"), "gateway": {"host": "127.0.0.1", "port": port}}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(file)


def test_the_version_is_the_releases() -> None:
    assert skyrelay("--version").stdout.strip() == __version__


def test_status_as_json_is_the_gateways_answer(gateway: GatewayClient, config: str) -> None:
    done = skyrelay("status", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == gateway.read("/api/v1/status").keys()


def test_status_names_each_telescope_and_what_needs_you(store: Store, config: str) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.block(
            night.telescope("garden"), "M 94", EVENING, BlockState.FAILED, needs_you=True, reason="no stars"
        )
    done = skyrelay("status", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "garden" in done.stdout
    assert "Needs you" in done.stdout
    assert "no stars" in done.stdout


def test_a_receipt_of_no_night_is_refused_in_words(config: str) -> None:
    done = skyrelay("receipt", "--config", config)
    assert done.returncode == 1
    assert "no frame has been seen yet" in done.stderr


def test_an_impossible_night_is_refused_in_the_gateways_words(config: str) -> None:
    done = skyrelay("receipt", "2025-02-30", "--config", config)
    assert done.returncode == 1
    assert "2025-02-30" in done.stderr or "night" in done.stderr


def test_a_gateway_that_is_away_is_named(tmp_path: Path) -> None:
    port = free_port()
    done = skyrelay("status", "--config", write_config(tmp_path, port))
    assert done.returncode == 1
    assert f"does not answer at http://127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize(("state", "code"), [(BlockState.SKIPPED, 0), (BlockState.COLLECTING, 1)])
def test_the_exit_code_says_whether_something_of_the_night_still_waits(
    store: Store, config: str, state: BlockState, code: int
) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope("garden"), "M 94", EVENING, state, frames=3)
    done = skyrelay("receipt", "--config", config)
    assert done.returncode == code, done.stderr
    assert "M 94" in done.stdout
    assert (
        json.loads(skyrelay("receipt", "2025-03-26", "--config", config, "--json").stdout)["night"]
        == "2025-03-26"
    )
