"""The page for people, and the reference: complete when full, finished when empty, nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import Settings, TelescopeSettings
from skyrelay.store.engine import Store
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway with an empty database."""
    settings = Settings(setup="done", telescopes=(TelescopeSettings(name="balcony", host="192.0.2.9"),))
    with running_gateway(store, redis_server.url, settings) as client:
        yield client


def page(gateway: GatewayClient, path: str = "/") -> str:
    answer = gateway.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def test_an_empty_page_says_what_to_do(gateway: GatewayClient) -> None:
    html = page(gateway)
    assert "No frames yet" in html
    assert "image_watcher.enabled: true" in html
    assert "balcony" in html, "a configured telescope is shown before anybody has asked it"


def test_a_night_is_shown_with_its_blocks_and_its_receipt(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope()
        done = night.block(garden, "M 81", EVENING, BlockState.STACKED, frames=30)
        night.delivery(night.stack(done), DeliveryState.CONFIRMED)
        night.block(
            garden, "M 81", EVENING + timedelta(minutes=15), BlockState.STACKING, frames=30, percent=42.0
        )
        night.block(garden, "M 81", EVENING - timedelta(days=3), BlockState.SKIPPED, frames=1)
    html = page(gateway)
    assert "Wednesday 26 March 2025" in html
    assert re.search(r'class="cell s-delivered"[^>]*>\s*<span class="time">21:15</span>', html)
    assert "42 % of 30" in html
    assert "CrowdSky_30_M 81_10.0s_IRCUT_20250327.05_HP033810.fit" in html
    assert "all accounted for" in html
    assert 'href="?night=2025-03-23"' in html
    earlier = page(gateway, "/?night=2025-03-23")
    assert "Sunday 23 March 2025" in earlier
    assert 'href="?night=2025-03-26"' in earlier


def test_each_watched_folder_is_shown_with_its_state(
    gateway: GatewayClient, redis_server: RedisServer
) -> None:
    roots = [
        {"path": "/photos/<garden>", "state": "watching", "published": 12, "waiting": 3, "unreadable": 0},
        {"path": "/mnt/roof", "state": "offline", "published": 1, "waiting": 0, "unreadable": 2},
        "none of ours",
    ]
    with connect_redis(redis_server.url) as redis:
        beat(redis, "watcher", utc_now(), state="degraded", roots=roots)
    html = page(gateway)
    assert "/photos/&lt;garden&gt;" in html
    assert "watching · 12 files published, 3 waiting<" in html
    assert "offline · 1 file published, 2 unreadable<" in html


def test_a_night_that_never_was_is_said_to_be_empty(gateway: GatewayClient) -> None:
    assert "No frames in this night" in page(gateway, "/?night=2024-01-01")


def test_names_from_outside_stay_text(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope("<b>garden</b>", state_reason="<script>alert(1)</script>")
        night.block(
            telescope,
            "<img src=x onerror=alert(1)>",
            EVENING,
            BlockState.FAILED,
            needs_you=True,
            reason='"><script>`<i>`</script>',
        )
    html = page(gateway)
    assert not re.search(r"<script>|<img src=x|<b>garden|<i>", html)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_nothing_but_the_gateway(gateway: GatewayClient, store: Store, path: str) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "M 81", EVENING, BlockState.FAILED, needs_you=True)
    html = page(gateway, path)
    assert not re.search(r"\sstyle=|<style|<script>|\son\w+=", html), "the policy allows nothing inline"
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', html)
    assert loaded
    for address in loaded:
        served = "/" + address.removeprefix("/")
        assert served.startswith("/static/"), "test_reverse_proxy.py has it below a path"
        assert gateway.get(served).status_code == 200


def test_the_reference_knows_every_call(gateway: GatewayClient) -> None:
    document = gateway.read("/openapi.json")
    html = page(gateway, "/docs")
    for path in document["paths"]:
        assert f"<code>{path}</code>" in html
    assert page(gateway, "/api/docs") == html, "those who look under /api are led there"


def test_every_reference_in_the_document_leads_somewhere(gateway: GatewayClient) -> None:
    text = gateway.get("/openapi.json").text
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert "ProblemDetails" in names
    assert names <= set(gateway.read("/openapi.json")["components"]["schemas"])
