"""``skyrelay backup`` and ``restore``, as a person types them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from skyrelay.cli.data_dir import claim_data_dir
from skyrelay.data_dir_use import nobody_works_in
from skyrelay.errors import ConfigurationError
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.recorded_night import RecordedNight
from support.waiting import eventually

Skyrelay = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a data folder with a home in it."""
    data = tmp_path / "data"
    store = Store(f"sqlite:///{data / 'skyrelay.db'}")
    migrate(store)
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "M 94", datetime(2025, 3, 26, 21), frames=4)  # noqa: DTZ001 - local
    store.close()
    return data


@pytest.fixture
def skyrelay(tmp_path: Path, data: Path) -> Skyrelay:
    environment = {"PATH": os.environ["PATH"], "SKYRELAY_DATA_DIR": str(data), "SKYRELAY_SETUP": "done"}

    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "skyrelay.cli", *arguments],
            input=answer,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    return run


def test_a_home_that_was_lost_comes_back(skyrelay: Skyrelay, data: Path, tmp_path: Path) -> None:
    saved = skyrelay("backup", "home.zip")
    assert saved.returncode == 0, saved.stderr
    assert "home.zip: 6 rows of" in saved.stdout
    for file in data.glob("skyrelay.db*"):
        file.unlink()
    restored = skyrelay("restore", "home.zip")
    assert restored.returncode == 0, restored.stderr
    assert "Restored as of" in restored.stdout
    again = skyrelay("backup", "again.zip")
    assert "again.zip: 6 rows of" in again.stdout
    assert not list(tmp_path.glob(".*zip*"))


def test_a_person_is_asked_before_a_home_is_replaced_and_a_copy_is_kept(
    skyrelay: Skyrelay, data: Path
) -> None:
    skyrelay("backup", "home.zip")
    refused = skyrelay("restore", "home.zip", answer="n\n")
    assert refused.returncode == 1
    assert "The database holds 6 rows" in refused.stdout
    assert not (data / "backups").exists()
    replaced = skyrelay("restore", "home.zip", answer="y\n")
    assert replaced.returncode == 0, replaced.stderr
    [copy] = (data / "backups").iterdir()
    assert copy.name.startswith("replaced-")


def test_nothing_is_restored_under_the_feet_of_the_services(skyrelay: Skyrelay, data: Path) -> None:
    skyrelay("backup", "home.zip")
    with claim_data_dir(data):
        refused = skyrelay("restore", "home.zip", "--replace")
    assert refused.returncode == 2
    assert "runs in" in refused.stderr


def test_nothing_is_restored_beside_a_service_that_was_started_alone_as_in_a_container(
    skyrelay: Skyrelay, data: Path
) -> None:
    skyrelay("backup", "home.zip")
    environment = {
        **os.environ,
        "SKYRELAY_DATA_DIR": str(data),
        "SKYRELAY_REDIS_URL": "unix:///nowhere/redis.sock",
    }
    command = [sys.executable, "-m", "skyrelay.service", "scheduler"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as service:
        eventually(lambda: is_worked_in(data), within_s=60)
        refused = skyrelay("restore", "home.zip", "--replace")
        service.kill()
    assert refused.returncode == 2
    assert "services work in" in refused.stderr
    assert skyrelay("restore", "home.zip", "--replace").returncode == 0


def is_worked_in(data: Path) -> bool:
    try:
        with nobody_works_in(data):
            return False
    except ConfigurationError:
        return True


def test_what_is_no_backup_is_named(skyrelay: Skyrelay, tmp_path: Path) -> None:
    (tmp_path / "home.zip").write_text("hello")
    refused = skyrelay("restore", "home.zip", "--replace")
    assert refused.returncode != 0
    assert "home.zip is damaged, or no backup" in refused.stderr
    assert "Traceback" not in refused.stderr
