"""Removing stacks from a telescope on the page: refused first, then confirmed, and only then done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from skyrelay.domain.purge_states import PurgeState
from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables import Delivery, PurgePart
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from skyrelay_stacker.purging import see_to_purge
from support.browser import opened_page
from support.dashboard_browser import let_visitor_in, serious_faults
from support.gateway import running_gateway
from support.telescopes import MakeTelescope, make_telescope, take_frames
from support.workshop import Home, home

__all__ = ["home", "make_telescope"]

STACK = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"


@pytest.fixture
def telescope(home: Home, make_telescope: MakeTelescope) -> SimulatedTelescope:
    """Give a telescope with a stack that CrowdSky lists."""
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    home.own(telescope)
    home.look_and_stack()
    home.change(Delivery, state=DeliveryState.CONFIRMED)
    return telescope


@contextmanager
def a_stacker_at_work(home: Home) -> Iterator[None]:
    """See to what is asked for, as the stacker does."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.2):
            for part in home.rows(PurgePart):
                if part.state in {PurgeState.LISTING, PurgeState.REMOVING}:
                    see_to_purge(home.workshop, part.id)

    stacker = threading.Thread(target=work, name="stacker")
    stacker.start()
    try:
        yield
    finally:
        is_over.set()
        stacker.join()


def stacks_on(telescope: SimulatedTelescope) -> list[Path]:
    return list((telescope.emmc.root / "MyWorks").rglob("CrowdSky_*.fit"))


def test_a_purge_is_refused_and_then_confirmed(
    chromium: Browser, home: Home, telescope: SimulatedTelescope
) -> None:
    with (
        running_gateway(home.store, home.redis.url, home.settings) as gateway,
        a_stacker_at_work(home),
        opened_page(chromium, base_url=gateway.address) as page,
    ):
        let_visitor_in(page, home.store, gateway)
        page.goto("/telescopes")
        page.get_by_role("button", name="Remove stacks…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("files would be removed")
        assert serious_faults(page) == []
        dialog.get_by_text("Every file, and what becomes of it").click()
        expect(dialog.get_by_text(STACK)).to_be_visible()
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_be_hidden()
        assert len(stacks_on(telescope)) == 1, "who refuses has nothing removed"
        page.get_by_role("button", name="Remove stacks…").click()
        dialog.get_by_role("button", name="Remove for good").click()
        expect(dialog).to_contain_text("files were removed.")
        assert stacks_on(telescope) == []
