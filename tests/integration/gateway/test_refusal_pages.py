"""A person who is refused sees a page that says what to do; a program sees a problem, as ever."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.secrets import SecretStore
from support.first_run import configured
from support.gateway import GatewayClient, running_gateway
from support.owner import NO_REDIS, PASSWORD, Browser, give_owner


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return configured(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    settings.data_dir.mkdir()
    store = Store(f"sqlite:///{settings.data_dir / 'skyrelay.db'}")
    migrate(store)
    give_owner(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def gateway(store: Store, settings: Settings) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS, settings) as client:
        yield client


@pytest.fixture(scope="module")
def browser(gateway: GatewayClient) -> Browser:
    browser = Browser(gateway.address)
    browser.session.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
    assert browser.log_in(PASSWORD).status_code == 303
    return browser


@pytest.fixture
def lost_key(store: Store, settings: Settings) -> Iterator[Path]:
    """Keep a secret, and lose the file that it can be read with; it is found again after the test."""
    SecretStore(store, settings.key_path).put(
        "crowdsky.password", SecretStr("Orion-42"), now=utc_now(), actor="test"
    )
    away = settings.key_path.with_suffix(".away")
    settings.key_path.rename(away)
    yield settings.key_path
    away.rename(settings.key_path)


def assert_page(answer: requests.Response, status: int, *words: str) -> None:
    """Check that an answer is a page of ours that has these words, with all its headers."""
    text = unescape(answer.text)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for each in ("<h1>", *words):
        assert each in text


def test_a_form_without_its_token_is_refused_with_a_page(browser: Browser) -> None:
    for path in ("/setup/start", "/setup/site", "/logout", "/settings"):
        answer = browser.post(path, {"x": "y"})
        assert_page(answer, 403, "This form is from another login", "Load the page again")


def test_a_form_from_nowhere_or_from_another_site_is_refused_with_a_page(browser: Browser) -> None:
    nowhere = browser.session.post(f"{browser.address}/setup/start", data={"x": "y"}, timeout=20)
    assert_page(nowhere, 403, "Nothing says that one of the gateway's own pages asks")
    elsewhere = browser.post("/setup/start", {"x": "y"}, Origin="http://elsewhere.example")
    assert_page(elsewhere, 403, "A page of another site asked for this")


def test_what_is_no_form_or_too_long_a_one_is_refused_with_a_page(browser: Browser) -> None:
    assert_page(browser.call("POST", "/setup/site", {"latitude": 1}), 415, "Open the page and fill in")
    long = browser.post("/setup/telescopes/check", {"key": "x" * 70_000})
    assert_page(long, 413, "Send less")
    torn = browser.call("POST", "/setup/site", {}, **{"Content-Type": "multipart/form-data"})
    assert_page(torn, 400, "Missing boundary")


def test_a_wrong_name_in_an_address_is_refused_with_a_page(browser: Browser) -> None:
    assert_page(browser.get("/setup/telescopes/checked?trial=abc"), 422, "There is no such page")
    assert_page(browser.get("/setup/telescopes/checked?trial=99"), 404, "begin again")
    assert_page(browser.get("/setup/nothing"), 404, "There is nothing at /setup/nothing", "Back to tonight")
    assert_page(browser.get("/nothing"), 404, "There is nothing at /nothing")
    assert_page(browser.call("DELETE", "/setup/site"), 405, "does not take DELETE")


def test_who_is_unknown_is_told_to_log_in_without_a_menu(gateway: GatewayClient) -> None:
    answer = Browser(gateway.address).post("/setup/start", {"x": "y"})
    assert_page(answer, 401, "does not know who asks", "Log in")
    assert answer.headers["www-authenticate"] == 'Bearer realm="skyrelay"'
    assert "<nav" not in answer.text
    assert "hx-get" not in answer.text, "it would be refused again and again"


@pytest.mark.parametrize("path", ["/setup/crowdsky", "/setup/start"])
def test_a_lost_key_file_is_named_with_what_to_do(browser: Browser, lost_key: Path, path: str) -> None:
    words = (f"The key file {lost_key} is missing", "restore it, or name it with secret_key_file")
    assert_page(browser.get(path), 503, *words)


def test_nothing_is_kept_while_the_key_file_is_lost(
    browser: Browser, gateway: GatewayClient, lost_key: Path
) -> None:
    token = browser.token_in("/setup/site")
    login = {"csrf_token": token, "key": "crowdsky.password", "value": "Lyra-57"}
    assert_page(browser.post("/settings", login), 503, "is missing", "Nothing was changed")
    changed = gateway.send("PATCH", "/api/v1/settings", json={"crowdsky.password": "Lyra-57"})
    assert (changed.status_code, changed.headers["content-type"]) == (503, "application/problem+json")
    assert not lost_key.exists(), "another key would lock the secrets out that are kept"


def test_what_other_settings_need_is_named_on_a_page(browser: Browser, gateway: GatewayClient) -> None:
    two = [{"name": "garden", "host": "192.168.1.50"}, {"name": "yard", "host": "192.168.1.51"}]
    kept = gateway.send("PATCH", "/api/v1/settings", json={"telescopes": two, "cloud.telescope": "yard"})
    assert kept.status_code == 200, kept.text
    token = browser.token_in("/setup/site")
    answer = browser.post("/setup/telescopes/remove", {"csrf_token": token, "name": "yard"})
    assert_page(answer, 422, "cloud.telescope: no telescope is named 'yard'", "Nothing was changed")


def test_programs_go_on_getting_problems(gateway: GatewayClient, browser: Browser) -> None:
    for answer, status in (
        (gateway.get("/nothing"), 404),
        (browser.get("/api/v1/blocks/99"), 404),
        (gateway.post("/api/v1/stack", {}), 422),
        (GatewayClient(gateway.address).get("/setup/start"), 401),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["what_to_do"]
