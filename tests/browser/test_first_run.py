"""The first run in a browser without JavaScript: nothing happens before Start, then the night begins."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, generate_key_pair
from support.browser import overflow_px
from support.running_home import RunningHome
from support.telescopes import CHANGES, MakeTelescope, asked, make_telescope, stacks_on, take_frames
from support.waiting import eventually

__all__ = ["make_telescope"]

pytestmark = pytest.mark.system

SCREENSHOTS = os.environ.get("TESTS_SCREENSHOTS")  # a folder, to make the pictures of the docs anew
PASSWORD = "Orion-42"
OWN_PASSWORD = "Cassiopeia-1572"
STACK = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
LONG_MS = 120_000  # all services share this machine with other tests


def picture(page: Page, name: str) -> None:
    """Make a picture for the docs, where that is wanted; at any rate nothing scrolls sideways."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)
    assert (name, overflow_px(page)) == (name, 0)


def claim(page: Page, log: str) -> None:
    """Show the code of the banner, and choose a password."""
    (code,) = re.findall(r"\| Code +(\S+) *\|", log)
    page.get_by_label("Set-up code").fill(code)
    page.get_by_label("New password").fill(OWN_PASSWORD)
    page.get_by_label("The same again").fill(OWN_PASSWORD)
    picture(page, "first-run-welcome")
    page.get_by_role("button", name="Claim it").click()


def find_telescope(page: Page, telescope: SimulatedTelescope) -> None:
    """Look for it at its address, and fill in what only a simulated one needs."""
    at = telescope.endpoint
    page.get_by_label("Where to look").fill(f"127.0.0.1:{at.udp_port}")
    page.get_by_role("button", name="Look for telescopes").click()
    expect(page.get_by_text(f"serial {telescope.spec.serial}")).to_be_visible(timeout=LONG_MS)
    picture(page, "first-run-telescopes")
    page.get_by_role("link", name="Take this one").click()
    page.get_by_label("What you call it").fill("garden")
    page.get_by_text("Forwarded ports").click()
    ports = {"Commands": at.rpc_port, "Files over HTTP": at.http_port, "Its share": at.smb_port}
    for label, port in ports.items():
        page.get_by_label(label, exact=True).fill(str(port))


def add_telescope(page: Page, key_file: Path) -> None:
    """Have it asked without its key, then with it."""
    page.get_by_role("button", name="Check it").click()
    expect(page.get_by_role("heading", name="Wants a key that we do not have")).to_be_visible(timeout=LONG_MS)
    picture(page, "first-run-key")
    page.get_by_label("Its key, for firmware").set_input_files(key_file)
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("heading", name="It answers: Seestar S50")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("region", name="Yours")).to_contain_text("garden")
    page.get_by_role("link", name="Continue").click()


def enter_site(page: Page) -> None:
    """Enter the site, go back, and find it kept."""
    page.get_by_label("Latitude").fill("40.7128")
    page.get_by_label("Longitude").fill("-74.006")
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_text("A place is set, near 40.7°, -74.0°")).to_be_visible()
    picture(page, "first-run-site")
    page.get_by_role("link", name="Skip").click()


def enter_login(page: Page) -> None:
    """Enter a wrong password, then the right one."""
    for password, words in (("wrong", "does not know this user name"), (PASSWORD, "It works")):
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Save and try").click()
        expect(page.get_by_text(words)).to_be_visible()
    page.get_by_role("link", name="Continue").click()


def see_what_would_be_stacked(page: Page) -> None:
    """Take short blocks in too, and look what there is."""
    page.get_by_label("Leave blocks alone").fill("40")
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_role("navigation", name="Steps").get_by_role("link", name="Stacking").click()
    page.get_by_role("button", name="Look what lies on them").click()
    expect(page.get_by_text("1 block of 5 frames")).to_be_visible(timeout=LONG_MS)
    picture(page, "first-run-stacking")
    page.get_by_role("button", name="Save and continue").click()
    picture(page, "first-run-start")


def test_nothing_happens_before_start_and_then_the_night_begins(
    plain_phone: Page, tmp_path: Path, make_telescope: MakeTelescope
) -> None:
    keys, key_file = generate_key_pair(), tmp_path / "seestar.pem"
    key_file.write_bytes(keys.private_pem)
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, wants_key=True, public_key_pem=keys.public_pem)
    take_frames(telescope)
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": PASSWORD}) as server:
        home = RunningHome(
            tmp_path / "home",
            crowdsky={"base_url": server.base_url},
            scheduler={"reconcile_s": 1, "inventory_s": 5},
            stacking={"idle_s": 0, "grace_s": 0},
        )
        with home.running():
            plain_phone.goto(home.address)
            claim(plain_phone, home.log())
            plain_phone.get_by_role("link", name="Go on with the set-up").click()
            find_telescope(plain_phone, telescope)
            add_telescope(plain_phone, key_file)
            enter_site(plain_phone)
            enter_login(plain_phone)
            see_what_would_be_stacked(plain_phone)
            assert {each: asked(telescope, each) for each in CHANGES if asked(telescope, each)} == {}
            assert (stacks_on(telescope), server.uploads) == ([], [])

            plain_phone.get_by_role("button", name="Start").click()
            expect(plain_phone.get_by_text("Set-up is not finished")).to_have_count(0)
            eventually(lambda: len(server.uploads) == 1, within_s=180)
            assert stacks_on(telescope) == [STACK]
            for secret in (PASSWORD, OWN_PASSWORD, "40.7128", "-74.006", "PRIVATE KEY"):
                assert secret not in home.log()
