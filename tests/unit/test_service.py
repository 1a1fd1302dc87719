"""A service begins the same way as all: a wrong configuration ends it at once, named, with exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyrelay.service import EXIT_CONFIGURATION, installed_services

_SERVICES = ["cloud-agent", "gateway", "scheduler", "stacker", "uploader", "watcher"]


def run_service(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a service as it is run at home, under an environment that configures nothing else."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SKYRELAY_", "CROWDSKY_"))
    }
    command = [sys.executable, "-m", "skyrelay.service", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**clean, **environ}
    )


def refusal(ran: subprocess.CompletedProcess[str]) -> str:
    """Give the problem that the service named before it ended."""
    assert ran.returncode == EXIT_CONFIGURATION == 2, ran.stderr
    record = json.loads(ran.stderr.splitlines()[-1])
    assert (record["level"], record["event"]) == ("error", "the configuration is wrong")
    return str(record["problem"])


@pytest.mark.parametrize("service", ["scheduler", "stacker"])
def test_a_wrong_key_ends_a_service_with_its_name_and_the_right_one(tmp_path: Path, service: str) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        "crowdsky: {pasword: s3cret}\ntelescopes: [{name: garden, hots: x}]\n", encoding="utf-8"
    )
    ran = run_service(service, "--config", str(config))
    problem = refusal(ran)
    assert (
        f"crowdsky.pasword: there is no such setting; did you mean crowdsky.password? ({config})" in problem
    )
    assert "telescopes.0.hots: there is no such setting" in problem
    assert "did you mean telescopes.0.host?" in problem
    assert "s3cret" not in ran.stderr + ran.stdout


def test_a_wrong_value_in_the_environment_ends_a_service() -> None:
    assert "stacking.block_minutes: 7 is no block length" in refusal(
        run_service("scheduler", SKYRELAY_STACKING__BLOCK_MINUTES="7")
    )


def test_a_missing_file_ends_a_service(tmp_path: Path) -> None:
    problem = refusal(run_service("scheduler", "--config", str(tmp_path / "nowhere.yaml")))
    assert problem == f"{tmp_path / 'nowhere.yaml'}: cannot be read (No such file or directory)"


def test_what_a_service_finds_wrong_by_itself_ends_it_too(tmp_path: Path) -> None:
    database = "mysql://me:s3cret@db/skyrelay"
    ran = run_service("scheduler", SKYRELAY_DATABASE_URL=database, SKYRELAY_DATA_DIR=str(tmp_path))
    assert "database_url: mysql is not supported" in refusal(ran)
    assert "s3cret" not in ran.stderr


def test_a_service_that_does_not_exist_is_refused_with_those_that_do() -> None:
    ran = run_service("stakcer")
    assert ran.returncode == 2
    assert "stacker" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_all_services_are_found() -> None:
    assert set(_SERVICES) <= set(installed_services())


def test_a_service_that_is_told_to_stop_before_it_works_leaves(tmp_path: Path) -> None:
    """In a container it is the first process, which a signal without a handler does not reach."""
    config = tmp_path / "skyrelay.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "skyrelay.service", "scheduler", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as service, config.open("w"):  # opened by both
        service.terminate()
        assert service.wait(60) == 0
