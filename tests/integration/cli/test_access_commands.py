"""``skyrelay password`` and ``skyrelay token``, as the programs they are, beside a gateway that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from skyrelay.access.passwords import WeakPasswordError
from skyrelay.cli.access_commands import app
from skyrelay.errors import ConfigurationError
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_gateway.opening import setup_banner
from support.gateway import GatewayClient, running_gateway
from support.owner import NO_REDIS, PASSWORD, Browser, give_owner


@pytest.fixture
def gateway(store: Store) -> Iterator[GatewayClient]:
    give_owner(store)
    with running_gateway(store, NO_REDIS) as client:
        yield client


@pytest.fixture
def config(store: Store, tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    url = store.engine.url.render_as_string(hide_password=False)
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path), "database_url": url}), encoding="utf-8")
    return file


def skyrelay(config: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
    command = [sys.executable, "-m", "skyrelay.cli", *arguments, "--config", str(config)]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


def here(config: Path, *arguments: str, typed: str | None = None) -> Result:
    """Run a command in this process: starting one costs a second each."""
    return CliRunner().invoke(app, [*arguments, "--config", str(config)], input=typed)


def test_a_new_password_counts_at_once_and_ends_all_logins(gateway: GatewayClient, config: Path) -> None:
    browser = Browser(gateway.address)
    browser.log_in()
    for number in range(5):
        Browser(gateway.address).log_in(f"wrong {number}")
    done = skyrelay(config, "password", typed="another dark sky\n")
    assert (done.returncode, "another dark sky" in done.stdout + done.stderr) == (0, False)
    assert not browser.is_logged_in()
    assert Browser(gateway.address).log_in(PASSWORD).status_code == 403, "tried at once: the wait is forgiven"
    assert Browser(gateway.address).log_in("another dark sky").status_code == 303


def test_a_password_that_protects_nothing_is_refused_in_words(gateway: GatewayClient, config: Path) -> None:
    done = here(config, "password", typed="short\n")
    assert isinstance(done.exception, WeakPasswordError)
    assert "at least 10 characters" in str(done.exception)
    assert Browser(gateway.address).log_in().status_code == 303


def test_a_configured_password_is_not_set_from_here(config: Path) -> None:
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**settings, "gateway": {"password": PASSWORD}}), encoding="utf-8")
    done = here(config, "password", typed="another dark sky\n")
    assert isinstance(done.exception, ConfigurationError)
    assert "gateway.password is configured" in str(done.exception)


def test_a_token_is_printed_once_listed_by_its_name_and_revoked(gateway: GatewayClient, config: Path) -> None:
    made = here(config, "token", "create", "Home Assistant", "--scope", "control")
    token = made.stdout.strip()
    program = GatewayClient(gateway.address, token)
    assert program.read("/api/v1/access")["scope"] == "control"
    listed = here(config, "token", "list", "--json").stdout
    (row,) = [each for each in json.loads(listed) if each["name"] == "Home Assistant"]
    assert row["last_used_at"] is not None
    assert token not in listed + here(config, "token", "list").stdout
    again = here(config, "token", "create", "Home Assistant").exception
    assert "already" in str(again)
    assert here(config, "token", "revoke", "Home Assistant").exit_code == 0
    assert program.get("/api/v1/access").status_code == 401
    twice = here(config, "token", "revoke", "Home Assistant").exception
    assert "there is no token 'Home Assistant'" in str(twice)


def test_the_banner_names_the_page_and_the_code() -> None:
    banner = setup_banner(Settings().gateway, "ABCD-EFGH")
    assert "ABCD-EFGH" in banner
    assert ":8474/welcome" in banner
    assert len({len(line) for line in banner.strip().splitlines()}) == 1
