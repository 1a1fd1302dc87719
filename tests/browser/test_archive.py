"""The archive in a browser: readable by all, no wider than a phone, and its table comes down as a file."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from skyrelay.store.engine import Store
from support.browser import overflow_px
from support.dashboard_browser import dashboard, serious_faults, visitor
from support.dashboard_scene import Scene
from support.redis_server import RedisServer


def test_what_one_target_amounts_to_is_seen_on_a_phone_and_taken_away(
    chromium: Browser, night: Store, scene: Scene, redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        dashboard(night, redis_server, scene.archive) as gateway,
        visitor(chromium, night, gateway, "dark", on_phone=True) as page,
    ):
        page.goto("/archive", wait_until="domcontentloaded")
        expect(page.locator("#headline")).to_have_text("2 need you")
        assert serious_faults(page) == []
        assert overflow_px(page) == 0
        page.get_by_label("Target").select_option("M 81")
        expect(page.locator("tbody tr")).to_have_count(1)
        with page.expect_download() as download:
            page.get_by_role("link", name="ECSV for astropy").click()
        assert download.value.suggested_filename == "skyrelay-archive.ecsv"
        file = tmp_path / "archive.ecsv"
        download.value.save_as(file)
        lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
        assert len(lines) > 1
        assert all('"M 81"' in line for line in lines[1:])
