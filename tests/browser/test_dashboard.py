"""The dashboard as people use it: in a garden at night, on a phone, by keyboard, with a screen reader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay.store.transitions import move_block, move_delivery
from support.browser import PHONE, opened_page, overflow_px
from support.dashboard_browser import (
    dashboard,
    keep_picture,
    other_light,
    serious_faults,
    visitor,
    wear,
)
from support.dashboard_scene import NOW, Scene
from support.gateway import GatewayClient
from support.owner import give_owner
from support.redis_server import RedisServer

PAGES = (
    "",
    "nights",
    "nights/2025-03-26",
    "gallery",
    "sky",
    "deliveries",
    "telescopes",
    "plan",
    "settings",
    "more",
    "archive",
    "access",
)

SETUP_PAGES = tuple(
    f"setup/{step}" for step in ("telescopes", "telescopes/new", "site", "crowdsky", "stacking", "start")
)

# Of what is as long as a book, or a list, the first parts stand for all: they are made alike.
_SHORTEN = """() => document.querySelectorAll(
  ".call:nth-of-type(n + 4), main li:nth-of-type(n + 7), main tr:nth-of-type(n + 7)"
).forEach(each => each.remove())"""


@pytest.fixture
def gateway(night: Store, scene: Scene, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Serve the scene's night."""
    with dashboard(night, redis_server, scene.archive) as client:
        yield client


def first_block(store: Store, state: BlockState) -> int:
    with store.read() as session:
        return session.scalars(select(Block.id).where(Block.state == state).order_by(Block.id)).first() or 0


def step(store: Store, block_id: int, state: BlockState, **columns: object) -> None:
    with store.write() as session:
        block = session.get_one(Block, block_id)
        move_block(session, block, state, now=NOW, actor="stacker", reason="", **columns)


def cell(page: Page, target: str, time: str) -> object:
    return page.locator("article", has=page.get_by_role("heading", name=target)).locator(
        ".cell", has_text=time
    )


def test_a_night_is_watched_live(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    waiting = first_block(night, BlockState.READY)
    with visitor(chromium, night, gateway, on_phone=True) as page:
        page.goto("/")
        page.evaluate("window.isTheSamePage = true")
        stacking = cell(page, "M 81", "22:30")
        expect(stacking).to_contain_text("42 % of 30")
        with night.write() as session:
            done = first_block(night, BlockState.STACKING)
            move_block(session, session.get_one(Block, done), BlockState.STACKED, now=NOW, actor="stacker")
        expect(stacking).to_contain_text("stacked")
        step(night, waiting, BlockState.STACKING, percent=7.0)
        expect(cell(page, "M 51", "22:45")).to_contain_text("7 % of 28")
        expect(page.locator(".telescope", has_text="garden").locator(".words")).to_contain_text(
            "Stacking M 51"
        )
        with night.write() as session:
            sending = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.SENDING)).one()
            move_delivery(session, sending, DeliveryState.ACCEPTED, now=NOW, actor="uploader", reason="")
        expect(cell(page, "M 81", "22:15")).to_contain_text("delivered")
        assert page.evaluate("window.isTheSamePage"), "nothing was loaded anew but what changed"


def test_a_failed_delivery_is_retried(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with visitor(chromium, night, gateway, on_phone=True) as page:
        page.goto("/deliveries?state=dead")
        expect(page.get_by_text("the server refused it: no RA in the header")).to_be_visible()
        page.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("status").filter(has_text="It is sent again now.")).to_be_visible()
        expect(page.get_by_role("heading", name="No delivery")).to_be_visible()
    with night.read() as session:
        assert session.scalars(select(Delivery).where(Delivery.state == DeliveryState.DEAD)).all() == []


def test_giving_up_asks_first(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with night.write() as session:
        dead = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.DEAD)).one()
        move_delivery(session, dead, DeliveryState.PENDING, now=NOW, actor="person", reason="")
    with visitor(chromium, night, gateway) as page:
        page.goto("/deliveries?state=pending")
        page.get_by_role("button", name="Give up").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("can be sent again by hand")
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.locator("[id^=delivery-]")).to_have_count(1)
        page.get_by_role("button", name="Give up").click()
        dialog.get_by_role("button", name="Give up").click()
        expect(page.get_by_role("heading", name="No delivery")).to_be_visible()


def test_a_telescope_is_paused_and_goes_on(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with visitor(chromium, night, gateway) as page:
        page.goto("/telescopes")
        garden = page.locator(".telescope", has_text="garden")
        garden.get_by_role("button", name="Pause").click()
        expect(garden).to_contain_text("Paused: no new stack is begun")
        garden.get_by_role("button", name="Go on").click()
        expect(garden).not_to_contain_text("Paused")


def test_the_stretch_of_a_stack_is_changed(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with night.read() as session:
        number = session.scalars(select(Stack.id).order_by(Stack.id.desc())).first()
    with visitor(chromium, night, gateway) as page:
        page.goto(f"/gallery/{number}")
        image = page.get_by_role("img", name="The stack of NGC 7000")
        expect(image).to_have_js_property("complete", True)
        with page.expect_response(lambda answer: "curve=strong" in answer.url) as answer:
            page.get_by_label("Stretch").select_option("Faint nebulae")
        assert answer.value.ok
        expect(page).to_have_url(f"{gateway.address}/gallery/{number}?curve=strong&black=1&white=99.7")


def test_the_theme_is_chosen_and_kept(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with visitor(chromium, night, gateway) as page:
        page.goto("/nights/2025-03-26")
        page.get_by_role("button", name="Night vision").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "red")
        page.goto("/sky")
        expect(page.get_by_role("button", name="Night vision")).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="As the device").click()
        page.reload()
        assert page.locator("html").get_attribute("data-theme") is None


@pytest.mark.parametrize("path", ["", "gallery", "sky", "telescopes"])
def test_night_vision_gives_red_light_only(
    chromium: Browser, night: Store, gateway: GatewayClient, path: str
) -> None:
    with visitor(chromium, night, gateway, "red", on_phone=True) as page:
        page.goto(f"/{path}")
        for image in page.locator("img").all():
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("complete", True)
        page.evaluate("scrollTo(0, 0)")
        assert other_light(page) <= 3, "pictures too"


def check_in_all_themes(page: Page, path: str) -> None:
    """Have axe look at a page, and at its colours in each theme; nothing scrolls sideways."""
    page.goto(f"/{path}", wait_until="domcontentloaded")
    if page.locator("#headline").count():
        expect(page.locator("#headline")).to_have_text("2 need you")
    page.evaluate(_SHORTEN)
    wear(page, "dark")
    assert serious_faults(page) == [], f"/{path}"
    for theme in ("light", "red"):
        wear(page, theme)
        assert serious_faults(page, "color-contrast") == [], f"/{path} in {theme}"
    assert overflow_px(page) == 0, f"/{path}"


def test_axe_finds_nothing_serious_on_any_page_and_none_is_too_wide(
    chromium: Browser, night: Store, gateway: GatewayClient
) -> None:
    with night.read() as session:
        number = session.scalars(select(Stack.id).order_by(Stack.id.desc())).first()
    pages = (*PAGES, f"gallery/{number}", *SETUP_PAGES, "gallery/99999", "docs", "logout")
    with visitor(chromium, night, gateway, on_phone=True) as page:
        for path in pages:
            check_in_all_themes(page, path)
    with visitor(chromium, night, gateway) as page:
        for path in ("", f"gallery/{number}", "telescopes", "setup/stacking"):
            check_in_all_themes(page, path)


def test_axe_finds_nothing_serious_before_the_login(
    chromium: Browser, night: Store, gateway: GatewayClient
) -> None:
    with opened_page(chromium, base_url=gateway.address, viewport=PHONE) as page:
        check_in_all_themes(page, "welcome")
        give_owner(night)
        check_in_all_themes(page, "login")


def test_all_is_reached_by_keyboard(chromium: Browser, night: Store, gateway: GatewayClient) -> None:
    with visitor(chromium, night, gateway) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.locator("main a, main button").first).to_be_focused()


@pytest.mark.parametrize(
    ("name", "path", "theme", "on_phone"),
    [
        ("night", "", "dark", False),
        ("night-phone", "", "dark", True),
        ("night-red", "", "red", True),
        ("gallery", "gallery", "dark", False),
        ("stack", "gallery/40", "dark", False),
        ("sky", "sky", "dark", False),
        ("archive", "archive", "dark", False),
        ("nights", "nights", "light", False),
        ("receipt", "nights/2025-03-26", "light", False),
    ],
)
def test_pictures_for_the_documentation_show_a_whole_page(
    chromium: Browser, night: Store, gateway: GatewayClient, name: str, path: str, theme: str, on_phone: bool
) -> None:
    with visitor(chromium, night, gateway, theme, on_phone=on_phone) as page:
        page.goto(f"/{path}")
        expect(page.locator("#headline")).to_have_text("2 need you")
        for image in page.locator("main img").all()[:8]:
            expect(image).not_to_have_js_property("naturalWidth", 0)
        keep_picture(page, name)
