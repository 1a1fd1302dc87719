"""The dashboard in a browser: who is logged in, what axe finds, pictures for the documentation."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page

from skyrelay.access.sessions import begin_session
from skyrelay.service import utc_now
from skyrelay.settings import ArchiveSettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay_gateway.cookies import SESSION
from skyrelay_gateway.page_frame import THEME_COOKIE
from support.browser import DESKTOP, PHONE, opened_page
from support.dashboard_scene import NOW
from support.gateway import GatewayClient, running_gateway
from support.redis_server import RedisServer

PICTURES = "TESTS_PICTURES"  # the folder that pictures for the documentation are written to, if they are
_SERIOUS = frozenset({"serious", "critical"})


@contextmanager
def dashboard(store: Store, redis: RedisServer, archive: Path) -> Iterator[GatewayClient]:
    """Serve the dashboard, at the scene's time, in the scene's zone."""
    settings = Settings(
        setup="done",
        archive=ArchiveSettings(path=archive),
        observatory=ObservatorySettings(timezone="America/Toronto"),
    )
    with running_gateway(store, redis.url, settings, clock=lambda: NOW) as client:
        yield client


@contextmanager
def visitor(
    browser: Browser, store: Store, gateway: GatewayClient, theme: str = "", *, on_phone: bool = False
) -> Iterator[Page]:
    """Open a browser that is logged in and has chosen a theme."""
    traits = {"viewport": PHONE, "has_touch": True, "is_mobile": True} if on_phone else {"viewport": DESKTOP}
    with opened_page(browser, base_url=gateway.address, color_scheme="dark", **traits) as page:
        let_visitor_in(page, store, gateway, NOW)
        if theme:
            page.context.add_cookies([{"name": THEME_COOKIE, "value": theme, "url": gateway.address}])
        yield page


def let_visitor_in(page: Page, store: Store, gateway: GatewayClient, now: datetime | None = None) -> None:
    """Log a browser in."""
    with store.write() as session:
        cookie = begin_session(session, now=now or utc_now(), address="192.0.2.4", browser="a test")
    page.context.add_cookies([{"name": SESSION, "value": cookie, "url": gateway.address}])


def serious_faults(page: Page, *rules: str) -> list[str]:
    """Name what axe finds to keep people from using a page; with ``rules``, by these alone."""
    options = {"runOnly": list(rules)} if rules else {}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{fault['id']} at {node['target']}: {node['failureSummary']}"
        for fault in found
        if fault["impact"] in _SERIOUS
        for node in fault["nodes"]
    ]


def wear(page: Page, theme: str) -> None:
    """Put a theme on a page, without what lies over all of it in red light: axe cannot see through that."""
    page.evaluate(
        """theme => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(":root::after { display: none !important; } * { transition: none !important; }");
          document.adoptedStyleSheets = [sheet];
          document.documentElement.dataset.theme = theme;
        }""",
        theme,
    )


def other_light(page: Page) -> int:
    """Give the most green or blue in any pixel of what is seen, of 255."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        _red, green, blue = image.convert("RGB").split()
        return max(int(band.getextrema()[1]) for band in (green, blue))  # type: ignore[arg-type] # of a grey band


def keep_picture(page: Page, name: str, *, whole: bool = False) -> None:
    """Write a picture for the documentation, where `PICTURES` says so."""
    folder = os.environ.get(PICTURES)
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)
