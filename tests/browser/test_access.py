"""Tokens, logins and the password in a browser, by labels and keys; axe finds nothing that bars people."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from support.browser import PHONE, opened_page, overflow_px
from support.dashboard_browser import serious_faults
from support.gateway import GatewayClient, running_gateway
from support.owner import PASSWORD, give_owner
from support.redis_server import RedisServer

ANOTHER = "a darker sky over the roof"


def log_in(page: Page, password: str) -> None:
    page.goto("/settings")
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_a_token_is_made_and_the_password_changed_on_a_phone(
    chromium: Browser, store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    give_owner(store)
    settings = Settings(setup="done", data_dir=tmp_path)
    with (
        running_gateway(store, redis_server.url, settings) as gateway,
        opened_page(
            chromium, base_url=gateway.address, viewport=PHONE, has_touch=True, is_mobile=True
        ) as page,
    ):
        log_in(page, PASSWORD)
        page.get_by_role("link", name="Tokens, logins, password").click()

        page.get_by_label("What the program is called").fill("Home Assistant")
        page.get_by_label("What it may do").select_option(label="may read and control")
        page.get_by_role("button", name="Make a token").press("Enter")
        expect(page.get_by_role("region", name="Tokens for programs")).to_contain_text("shown this once")
        program = GatewayClient(gateway.address, page.locator("#token").inner_text())
        assert program.read("/api/v1/access")["scope"] == "control"
        assert (serious_faults(page), overflow_px(page)) == ([], 0)

        page.get_by_role("button", name="Revoke Home Assistant").press("Enter")
        expect(page.get_by_text("it is worth nothing from now on")).to_be_visible()
        assert program.get("/api/v1/access").status_code == 401

        page.get_by_label("As it is now").fill("wrong")
        page.get_by_label("The new one").fill(ANOTHER)
        page.get_by_label("The same again").fill(ANOTHER)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("That is not the password as it is now")
        assert (serious_faults(page), overflow_px(page)) == ([], 0)
        page.get_by_label("As it is now").fill(PASSWORD)
        page.get_by_label("The new one").fill(ANOTHER)
        page.get_by_label("The same again").fill(ANOTHER)
        page.keyboard.press("Enter")
        expect(page.get_by_text("The password is changed")).to_be_visible()
        expect(page.get_by_text("this one")).to_be_visible()

        page.get_by_role("button", name="Log out 127.0.0.1").press("Enter")
        log_in(page, ANOTHER)
        expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
