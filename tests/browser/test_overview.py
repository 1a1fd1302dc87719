"""The overview in a browser, on a phone and on a desk."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from skyrelay.store.engine import Store
from support.browser import let_in, overflow_px
from support.gateway import running_gateway
from support.redis_server import RedisServer


def test_the_overview_fits_a_phone_and_complains_about_nothing(
    phone: Page, store: Store, redis_server: RedisServer
) -> None:
    with running_gateway(store, redis_server.url) as gateway:
        let_in(phone, store)
        phone.goto(gateway.address)
        expect(phone).to_have_title(re.compile("Skyrelay"))
        expect(phone.get_by_role("heading", name="Telescopes")).to_be_visible()
        assert overflow_px(phone) == 0


def test_the_overview_says_the_same_without_javascript(
    plain_phone: Page, store: Store, redis_server: RedisServer
) -> None:
    with running_gateway(store, redis_server.url) as gateway:
        let_in(plain_phone, store)
        plain_phone.goto(gateway.address)
        expect(plain_phone.get_by_role("heading", name="Telescopes")).to_be_visible()
