"""``skyrelay up``: all services in the foreground, stopped cleanly, honest about a wrong configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

from skyrelay.access.local_token import read_local_token
from support.ports import free_port
from support.waiting import eventually

pytestmark = pytest.mark.system

STOP_WITHIN_S = 15  # what is promised of Ctrl-C
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}


def write_config(folder: Path, **settings: object) -> Path:
    port, flower = free_port(), free_port()
    config = {
        "data_dir": str(folder / "data"),
        "gateway": {"host": "127.0.0.1", "port": port},
        "flower": {"port": flower, "url": f"http://127.0.0.1:{flower}"},
        **settings,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@contextmanager
def services(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = config.with_suffix(".log").open("wb")
    command = [sys.executable, "-m", "skyrelay.cli", "up", "--config", str(config)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT, start_new_session=True)
    try:
        yield process
    finally:
        log.close()
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_WITHIN_S + 15)


def page(config: Path) -> str:
    return f"http://127.0.0.1:{yaml.safe_load(config.read_text())['gateway']['port']}"


def read(config: Path, path: str) -> Any:
    """Ask as any program that shares the folder of the services."""
    token = eventually(lambda: read_local_token(config.parent / "data"))
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(page(config) + path, headers=headers, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def is_ready(config: Path) -> bool:
    try:
        return requests.get(f"{page(config)}/readyz", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_ctrl_c_stops_everything_and_leaves_no_process_behind(tmp_path: Path) -> None:
    config = write_config(tmp_path, setup="done", crowdsky={"enabled": False})
    with services(config) as process:
        eventually(lambda: is_ready(config), within_s=60)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 8
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_WITHIN_S) == 0
        _gone, alive = psutil.wait_procs(started, timeout=1)
        assert alive == []


def test_what_a_killed_supervisor_leaves_ends_by_itself(tmp_path: Path) -> None:
    config = write_config(tmp_path, setup="done", crowdsky={"enabled": False})
    with services(config) as process:
        eventually(lambda: is_ready(config), within_s=60)
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _gone, alive = psutil.wait_procs(started, timeout=STOP_WITHIN_S)
        assert alive == []


def test_a_service_that_is_killed_is_started_again(tmp_path: Path) -> None:
    config = write_config(tmp_path, setup="done", crowdsky={"enabled": False})
    with services(config) as process:
        eventually(lambda: is_ready(config), within_s=60)
        gateway = next(each for each in psutil.Process(process.pid).children() if "gateway" in each.cmdline())
        gateway.kill()
        eventually(lambda: not is_ready(config))
        eventually(lambda: is_ready(config), within_s=60)


def test_before_the_set_up_is_done_everything_runs_and_nothing_acts(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, telescopes=[{"name": "garden", "host": "127.0.0.1", "rpc_port": free_port()}]
    )
    with services(config):
        eventually(lambda: is_ready(config), within_s=60)
        status = read(config, "/api/v1/status")
        assert status["setup"]["state"] == "ask"
        assert "setup: done" in status["setup"]["what_to_do"]
        assert [telescope["state"] for telescope in status["telescopes"]] == ["unknown"]


def test_a_telescope_that_is_away_is_named_and_asked_again(tmp_path: Path) -> None:
    telescope = {"name": "garden", "host": "127.0.0.1", "rpc_port": free_port()}
    config = write_config(
        tmp_path,
        setup="done",
        telescopes=[telescope],
        scheduler={"reconcile_s": 1},
        crowdsky={"enabled": False},
    )
    with services(config):
        eventually(lambda: is_ready(config), within_s=60)

        def garden() -> dict[str, str]:
            telescope: dict[str, str] = read(config, "/api/v1/telescopes")["items"][0]
            return telescope

        eventually(lambda: garden()["state"] == "unreachable")
        assert "does not answer" in garden()["reason"] or "refuses" in garden()["reason"]


@pytest.mark.parametrize("command", ["up", "config check"])
def test_a_wrong_key_stops_with_its_name_and_the_nearest_right_one(tmp_path: Path, command: str) -> None:
    config = write_config(tmp_path, stackin={"when": "idle"})
    arguments = [sys.executable, "-m", "skyrelay.cli", *command.split(), "--config", str(config)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 2
    assert "stackin: there is no such setting" in done.stderr
    assert "did you mean stacking?" in done.stderr


def test_a_second_start_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path, setup="done", crowdsky={"enabled": False})
    with services(config):
        eventually(lambda: is_ready(config), within_s=60)
        arguments = [sys.executable, "-m", "skyrelay.cli", "up", "--config", str(config)]
        second = subprocess.run(
            arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
        )
        assert second.returncode == 2
        assert "runs in" in second.stderr
        assert "already" in second.stderr
        assert is_ready(config)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data_dir": "/proc/skyrelay"}, "data_dir: /proc/skyrelay cannot be"),
        ({"redis_url": "localhost:6379"}, "redis_url: is no address of a Redis server"),
        ({"database_url": "postgresql+psycopg://nobody@127.0.0.1:9/none"}, "the database does not answer"),
    ],
)
def test_a_start_that_cannot_work_says_why_in_words(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    config = write_config(tmp_path, **settings)
    arguments = [sys.executable, "-m", "skyrelay.cli", "up", "--config", str(config)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr
