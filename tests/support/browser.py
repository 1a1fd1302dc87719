"""Debian's Chromium, driven as a person uses it: on a phone, with and without JavaScript.

A test that asks for `phone`, `desktop` or `plain_phone` gets a page of a fresh profile. It fails when the
page complains: an error in its console (what the Content-Security-Policy stopped, say), an exception in a
script, or anything fetched from another host than the gateway's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Response,
    ViewportSize,
    expect,
    sync_playwright,
)

from skyrelay.store.engine import Store
from support.gateway import make_token
from support.left_out import left_out

PHONE: ViewportSize = {"width": 390, "height": 844}  # of a common one, in CSS pixels
DESKTOP = {"width": 1280, "height": 800}
_PATIENCE_MS = 30_000  # a loaded machine gets time


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one Chromium for all tests of a file: its event loop ends with it, and others can have theirs."""
    program = shutil.which("chromium")
    if program is None:
        left_out("Chromium is not installed (Debian's package chromium)")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        # Without its own sandbox, which root cannot have; no page of another host is ever opened.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    """Give a page on a phone."""
    with opened_page(chromium, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        yield page


@pytest.fixture
def plain_phone(chromium: Browser) -> Iterator[Page]:
    """Give a page on a phone whose browser runs no JavaScript."""
    with opened_page(
        chromium, viewport=PHONE, has_touch=True, is_mobile=True, java_script_enabled=False
    ) as page:
        yield page


@pytest.fixture
def desktop(chromium: Browser) -> Iterator[Page]:
    """Give a page on a desk."""
    with opened_page(chromium, viewport=DESKTOP) as page:
        yield page


@contextmanager
def opened_page(browser: Browser, **traits: Any) -> Iterator[Page]:
    """Open a page of a fresh profile; at the end fail with what it complained about."""
    context = browser.new_context(**traits)
    context.set_default_timeout(_PATIENCE_MS)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.extend(_errors(message)))
    page.on("response", lambda response: complaints.extend(_missing(response)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.extend(_strangers(page, request)))
    try:
        yield page
    finally:
        context.close()
    assert complaints == [], complaints


def let_in(page: Page, store: Store) -> None:
    """Have the gateway know whoever opens the page, by a token."""
    page.set_extra_http_headers({"Authorization": f"Bearer {make_token(store)}"})


def overflow_px(page: Page) -> int:
    """Give by how many CSS pixels a page is wider than its window; 0 where nothing scrolls sideways."""
    return int(page.locator("html").evaluate("html => html.scrollWidth - html.clientWidth"))


def _errors(message: ConsoleMessage) -> list[str]:
    # That a page itself was answered with an error is what a test may be about; of its parts see `_missing`.
    is_of_page = message.text.startswith("Failed to load resource")
    return [message.text] if message.type == "error" and not is_of_page else []


def _missing(response: Response) -> list[str]:
    is_part = not response.request.is_navigation_request()
    return [f"{response.status} for {response.url}"] if response.status >= 400 and is_part else []


def _strangers(page: Page, request: Request) -> list[str]:
    asked, own = urlsplit(request.url), urlsplit(page.url)
    is_own = asked.scheme == "data" or request.is_navigation_request() or asked.netloc == own.netloc
    return [] if is_own else [f"fetched from elsewhere: {request.url}"]
