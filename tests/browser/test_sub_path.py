"""The dashboard below a path of a reverse proxy: login, live page, pictures, buttons, all below the path."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from skyrelay.domain.states import BlockState
from skyrelay.settings import ArchiveSettings, GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block
from skyrelay.store.transitions import move_block
from support.browser import PHONE, opened_page
from support.dashboard_scene import NOW, Scene
from support.gateway import running_gateway
from support.little_proxy import little_proxy
from support.owner import PASSWORD, give_owner
from support.redis_server import RedisServer

BELOW = "/skyrelay"


@pytest.fixture
def address(night: Store, scene: Scene, redis_server: RedisServer) -> Iterator[str]:
    """Give where a proxy shows the scene's night."""
    give_owner(night)
    ours = GatewaySettings(root_path=BELOW, trusted_proxies=(ip_network("127.0.0.0/8"),))
    settings = Settings(setup="done", gateway=ours, archive=ArchiveSettings(path=scene.archive))
    with (
        running_gateway(night, redis_server.url, settings, clock=lambda: NOW) as gateway,
        little_proxy(gateway.address, BELOW, strips=True) as shown_at,
    ):
        yield shown_at


def log_in(page: Page, address: str) -> None:
    page.goto(f"{address}/gallery")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()


def test_the_whole_dashboard_lives_below_a_path(chromium: Browser, night: Store, address: str) -> None:
    asked: list[str] = []
    with opened_page(chromium, viewport=PHONE) as page:
        page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        log_in(page, address)
        expect(page.locator(".picture img").first).not_to_have_js_property("naturalWidth", 0)
        page.locator(".picture a").first.click()
        expect(page.locator("#shown")).not_to_have_js_property("naturalWidth", 0)
        with page.expect_response(lambda answer: answer.url.endswith("/api/v1/events")) as events:
            page.get_by_role("link", name="Tonight").click()
        assert events.value.ok
        cell = page.locator(".cell.s-stacking")
        expect(cell).to_contain_text("42 % of 30")
        stack_what_is_stacking(night)
        expect(cell).to_have_count(0)
        page.get_by_role("button", name="Night vision").click()
        page.get_by_role("link", name="More").click()
        page.get_by_role("link", name="Telescopes").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "red")
        garden = page.locator(".telescope", has_text="garden")
        garden.get_by_role("button", name="Pause").click()
        expect(garden).to_contain_text("Paused: no new stack is begun")
    assert [path for path in asked if not path.startswith(f"{BELOW}/")] == []


def stack_what_is_stacking(store: Store) -> None:
    with store.write() as session:
        block = session.query(Block).filter_by(state=BlockState.STACKING).one()
        move_block(session, block, BlockState.STACKED, now=NOW, actor="stacker")
