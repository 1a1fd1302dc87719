"""Behind a reverse proxy, below a path: all stays there; strangers are not believed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from requests.adapters import HTTPAdapter

from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from support.gateway import GatewayClient, make_token, running_gateway
from support.little_proxy import little_proxy
from support.owner import NO_REDIS, PASSWORD, Browser, Clock, give_owner

LOOPBACK = (ip_network("127.0.0.0/8"),)


def settings(**gateway: object) -> Settings:
    return Settings(setup="done", gateway=GatewaySettings.model_validate(gateway))


@pytest.fixture(params=[True, False], ids=["the proxy strips the path", "the proxy leaves the path"])
def proxied(store: Store, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Give a browser that sees a gateway with an owner below ``/sky``."""
    give_owner(store)
    below = settings(root_path="/sky", trusted_proxies=LOOPBACK)
    with (
        running_gateway(store, NO_REDIS, below) as gateway,
        little_proxy(gateway.address, "/sky", strips=request.param) as address,
    ):
        yield Browser(address)


def linked_from(browser: Browser, path: str) -> set[str]:
    """Give the addresses that a page leads to, as a browser makes them out."""
    found = re.findall(r'(?:href|src|action|data-post)="([^"]*)"', browser.get(path).text)
    return {urljoin(browser.address + path, each) for each in found}


def test_all_of_a_visit_stays_below_the_path(proxied: Browser) -> None:
    led = proxied.get("/docs")
    assert led.headers["location"] == "/sky/login?next=%2Fdocs"
    answer = proxied.log_in(next="/docs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sky/docs")
    assert all("Path=/sky;" in each for each in answer.raw.headers.getlist("set-cookie"))
    for path in ("/", "/docs", "/logout"):
        assert proxied.get(path).status_code == 200
        links = linked_from(proxied, path)
        assert links
        assert all(urlsplit(each).path.startswith("/sky/") for each in links if "127.0.0.1" in each), links
    assert proxied.submit("/logout").headers["location"] == "/sky/login"
    assert not proxied.is_logged_in()


def test_what_pages_need_is_served_there(proxied: Browser) -> None:
    for address in linked_from(proxied, "/login"):
        path = urlsplit(address).path.removeprefix("/sky")
        if path.startswith("/static/"):
            assert proxied.get(path).status_code == 200, path


def test_the_path_without_its_slash_leads_to_the_one_with_it(store: Store) -> None:
    with (
        running_gateway(store, NO_REDIS, settings(root_path="/sky")) as gateway,
        little_proxy(gateway.address, "/sky", strips=False) as address,
    ):
        assert Browser(address).get("").headers["location"] == "/sky/", (
            "what a page names relatively is there"
        )


def test_calls_of_our_own_page_are_taken_and_those_of_others_not(proxied: Browser) -> None:
    proxied.log_in()
    assert proxied.call("DELETE", "/api/v1/sessions/999").status_code == 404
    answer = proxied.call("DELETE", "/api/v1/sessions/999", Origin="https://elsewhere.example")
    assert answer.status_code == 403
    assert proxied.call("GET", "/openapi.json").json()["servers"] == [{"url": "/sky"}]


def test_over_https_the_cookies_are_for_https_alone(store: Store) -> None:
    give_owner(store)
    with (
        running_gateway(store, NO_REDIS, settings(trusted_proxies=LOOPBACK)) as gateway,
        little_proxy(gateway.address, "", strips=False, scheme="https") as address,
    ):
        browser = Browser(address, origin=address.replace("http:", "https:"))
        cookies = browser.log_in().raw.headers.getlist("set-cookie")
    assert len(cookies) == 2
    assert all("; Secure" in each for each in cookies)


def test_a_stranger_does_not_say_over_what_it_came(store: Store) -> None:
    give_owner(store)
    with running_gateway(store, NO_REDIS, settings()) as gateway:
        browser = Browser(gateway.address)
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "elsewhere.example"}
        answer = browser.post("/login", {"password": PASSWORD}, **told)
    assert answer.status_code == 303
    assert not any("Secure" in each for each in answer.raw.headers.getlist("set-cookie"))


class _From(HTTPAdapter):
    """Connects from one of this machine's many addresses."""

    def __init__(self, address: str) -> None:
        self._source = (address, 0)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=self._source)  # type: ignore[no-untyped-call]


def browser_at(source: str, address: str) -> Browser:
    browser = Browser(address)
    browser.session.mount("http://", _From(source))
    return browser


def guess_with_made_up_addresses(browser: Browser) -> list[int]:
    made_up = ({"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": "192.0.2.1"} for number in range(7))
    return [browser.post("/login", {"password": "wrong"}, **each).status_code for each in made_up]


def test_a_made_up_address_is_no_new_address(store: Store) -> None:
    give_owner(store)
    with running_gateway(store, NO_REDIS, settings(), Clock()) as gateway:
        statuses = guess_with_made_up_addresses(Browser(gateway.address))
    assert statuses == [403] * 5 + [429] * 2


def test_behind_a_trusted_proxy_addresses_are_told_apart_and_made_up_ones_are_not_believed(
    store: Store,
) -> None:
    give_owner(store)
    with (
        running_gateway(store, NO_REDIS, settings(trusted_proxies=["127.0.0.1"]), Clock()) as gateway,
        little_proxy(gateway.address, "", strips=False) as address,
    ):
        statuses = guess_with_made_up_addresses(browser_at("127.0.0.5", address))
        owner = browser_at("127.0.0.6", address)
        assert owner.log_in().status_code == 303
        listed = owner.call("GET", "/api/v1/sessions").json()
    assert statuses == [403] * 5 + [429] * 2
    assert [each["address"] for each in listed] == ["127.0.0.6"]


def test_the_name_that_a_trusted_proxy_passes_on_must_be_ours(store: Store) -> None:
    with running_gateway(
        store, NO_REDIS, settings(trusted_proxies=LOOPBACK, hosts=("sky.example",))
    ) as gateway:
        program = GatewayClient(gateway.address, make_token(store))
        for host, status in (("sky.example", 200), ("evil.example", 421)):
            headers = {"X-Forwarded-Host": host}
            assert program.send("GET", "/api/v1/access", headers=headers).status_code == status
