"""The first run over HTTP, page by page, with simulated telescopes and a CrowdSky server of our own."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.domain.states import BlockState
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.page_settings import page_values
from skyrelay.store.tables import AuditEntry, Block, SettingChange, TelescopeTrial
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.telescope import KeyPair, SimulatedTelescope, SmbBackend, generate_key_pair
from support.first_run import FirstRun, configured
from support.gateway import running_gateway
from support.ports import free_port
from support.redis_server import RedisServer
from support.telescopes import CHANGES, MakeTelescope, asked, make_telescope, stacks_on, take_frames
from support.workshop import Home

__all__ = ["make_telescope"]

PASSWORD = "Orion-42"
_LOOKS = {"stacker.look_at_telescope", "stacker.try_telescope", "stacker.discover_telescopes"}


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> Settings:
    stacking = {"min_exptime": 40.0, "idle_s": 0.0, "grace_s": 0.0}
    crowdsky = {"base_url": f"http://127.0.0.1:{free_port()}"}
    return configured(tmp_path, stacking=stacking, crowdsky=crowdsky, redis_url=redis_server.url)


@pytest.fixture
def first_run(settings: Settings, store: Store, redis_server: RedisServer) -> Iterator[FirstRun]:
    with running_gateway(store, redis_server.url, settings) as gateway:
        yield FirstRun(gateway, Home(store, redis_server, settings))


def fields_of(telescope: SimulatedTelescope, **changes: str) -> dict[str, str]:
    at = telescope.endpoint
    ports = {"rpc_port": at.rpc_port, "http_port": at.http_port, "smb_port": at.smb_port or free_port()}
    return {"name": "garden", "host": at.host, **{name: str(port) for name, port in ports.items()}, **changes}


def add(first_run: FirstRun, telescope: SimulatedTelescope, **changes: str) -> str:
    first_run.send("/setup/telescopes/check", fields_of(telescope, **changes))
    return first_run.said("/setup/telescopes/add", {"trial": str(first_run.trials()[-1].id)})


def kept_telescopes(first_run: FirstRun) -> list[dict[str, Any]]:
    with first_run.home.store.read() as session:
        found: list[dict[str, Any]] = page_values(session)["telescopes"]
    return found


def forget(first_run: FirstRun, trial: TelescopeTrial) -> None:
    with first_run.home.store.write() as session:
        session.delete(session.get_one(TelescopeTrial, trial.id))


def test_the_overview_leads_to_the_set_up_until_it_is_done(first_run: FirstRun) -> None:
    assert "Set-up is not finished" in first_run.see("/")
    assert "Which telescopes?" in first_run.see("/setup")
    first_run.send("/setup/start")
    assert "Set-up is not finished" not in first_run.see("/")
    assert "Skyrelay is at work" in first_run.see("/setup/start")


def test_a_telescope_is_found_at_an_address_and_offered_with_its_form(
    first_run: FirstRun, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    page = first_run.said("/setup/telescopes/find", {"where": f"127.0.0.1:{telescope.endpoint.udp_port}"})
    assert f"serial {telescope.spec.serial}" in page
    link = re.search(r'href="(/setup/telescopes/new\?[^"]*)"', page.replace("&amp;", "&"))
    assert link
    assert 'value="127.0.0.1"' in first_run.see(link[1])
    assert asked(telescope, "get_device_state") == 0


def test_nobody_being_there_is_said_with_what_to_try(first_run: FirstRun) -> None:
    page = first_run.said("/setup/telescopes/find", {"where": f"127.0.0.1:{free_port()}"})
    assert "No telescope answers" in page
    assert "Docker" in page


OUTSIDE = ("8.8.8.0/24", "10.0.0.0/8", "example.com", "169.254.169.254", "127.0.0.1:22", "::1", "a b")
WRONG = (
    ({"host": "example.com"}, "no name of a home's network"),
    ({"host": "169.254.169.254"}, "no address of a home's network"),
    ({"host": ""}, "Give its address"),
    ({"name": ""}, "Give it a name"),
    ({"name": "<b>"}, "Give it a name"),
    ({"rpc_port": "abc"}, "rpc_port"),
    ({"rpc_port": "70000"}, "rpc_port"),
    ({"rpc_port": "22"}, "another service's port"),
    ({"smb_port": "22"}, "another service's port"),
    ({"timezone": "Europe/Wien"}, "did you mean"),
    ({"key": "-----BEGIN NONSENSE-----"}, "This is no key that a telescope takes"),
)


def test_a_form_that_is_not_the_pages_own_is_refused(first_run: FirstRun) -> None:
    for headers in ({}, {"Origin": "http://elsewhere.example"}):
        answer = first_run.gateway.send("POST", "/setup/start", data={"x": "y"}, headers=headers)
        assert answer.status_code == 403
    assert not first_run.settings().is_set_up


def test_nothing_outside_of_the_home_is_asked(first_run: FirstRun) -> None:
    for where in OUTSIDE:
        answer = first_run.send("/setup/telescopes/find", {"where": where})
        assert (where, answer.status_code) == (where, 422)
        assert "Not kept yet" in answer.text
    assert first_run.discoveries() == []


def test_a_wrong_field_is_named_and_nothing_is_asked(first_run: FirstRun) -> None:
    for changes, words in WRONG:
        answer = first_run.send(
            "/setup/telescopes/check", {"name": "garden", "host": "192.168.1.50", **changes}
        )
        assert (changes, answer.status_code) == (changes, 422)
        assert words in unescape(answer.text)
    assert first_run.trials() == []
    kept = first_run.home.settings.data_dir / "keys"
    assert not kept.exists() or not list(kept.iterdir())


def test_a_telescope_that_is_away_is_named_and_can_be_added_all_the_same(first_run: FirstRun) -> None:
    fields = {"name": "garden", "host": "127.0.0.1", "rpc_port": str(free_port()), "watch": "yes"}
    page = first_run.said("/setup/telescopes/check", fields)
    assert "On, but its program does not run" in page
    assert "Add it all the same" in page
    page = first_run.said("/setup/telescopes/add", {"trial": str(first_run.trials()[-1].id)})
    assert "garden" in page
    assert [each.name for each in first_run.settings().telescopes] == ["garden"]
    first_run.send("/setup/telescopes/check", {**fields, "name": "yard"})
    first_run.send("/setup/telescopes/add", {"trial": str(first_run.trials()[-1].id)})
    assert [each.name for each in first_run.settings().telescopes] == ["yard"]
    assert [each.telescope for each in first_run.settings().image_watcher.watch_path] == ["yard"]


def test_the_key_is_tried_and_what_is_wrong_is_named(
    first_run: FirstRun, make_telescope: MakeTelescope, keys: KeyPair
) -> None:
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem)
    fields = fields_of(telescope, watch="yes")
    page = first_run.said("/setup/telescopes/check", fields)
    assert "Wants a key that we do not have" in page
    assert "Its firmware (7.18 and later) asks for a key" in page
    wrong = {"key_file": ("seestar.pem", generate_key_pair().private_pem)}
    assert "Refuses our key" in first_run.said("/setup/telescopes/check", fields, files=wrong)
    folder = first_run.home.settings.data_dir / "keys"
    assert list(folder.iterdir()) == [], "what was refused does not stay"
    key = {"key": keys.private_pem.decode().replace("\n", "\r\n")}
    page = first_run.said("/setup/telescopes/check", {**fields, **key})
    assert f"It answers: Seestar S50 (serial {telescope.spec.serial})" in page
    assert "Add it" in page
    again = {**fields, "trial": str(first_run.trials()[-1].id)}
    assert "It answers" in first_run.said("/setup/telescopes/check", again)  # the key need not be given twice
    first_run.send("/setup/telescopes/add", {"trial": str(first_run.trials()[-1].id)})
    (added,) = first_run.settings().telescopes
    assert added.key_path is not None
    assert [str(each["key_path"]) for each in kept_telescopes(first_run)] == [f"keys/{added.key_path.name}"]
    assert added.key_path.read_bytes() == keys.private_pem
    assert stat.S_IMODE(added.key_path.stat().st_mode) == 0o600
    (root,) = first_run.settings().image_watcher.watch_path
    assert (str(root.path), root.telescope) == (
        f"smb://127.0.0.1:{fields['smb_port']}/EMMC Images/MyWorks",
        "garden",
    )
    assert "PRIVATE KEY-----\n" not in first_run.see("/setup/telescopes/new?name=garden")
    first_run.said("/setup/telescopes/check", fields)
    assert first_run.trials()[-1].telescope["key_path"] == f"keys/{added.key_path.name}", "as the form says"
    for trial in first_run.trials():
        forget(first_run, trial)
    os.utime(added.key_path, (0, 0))
    first_run.send("/setup/telescopes/remove", {"name": "garden"})
    assert list(folder.iterdir()) == [], "nothing names it any more"
    left = first_run.settings()
    assert (left.telescopes, left.image_watcher.watch_path, left.image_watcher.enabled) == ((), (), False)


def test_a_key_is_found_where_the_data_lies_now(first_run: FirstRun, store: Store, tmp_path: Path) -> None:
    """An earlier release kept its whole path; the data has moved since, or the stacker sees it elsewhere."""
    entry = {"name": "garden", "host": "192.168.1.50", "key_path": "/data/keys/0123456789abcdef.pem"}
    with store.write() as session:
        session.add(
            SettingChange(key="telescopes", value=[entry], changed_at=utc_now(), changed_by="an old release")
        )
    (garden,) = first_run.settings().telescopes
    assert garden.key_path == first_run.home.settings.data_dir / "keys" / "0123456789abcdef.pem"
    assert first_run.send("/setup/site", {"observer": "Alice"}).status_code == 200
    (tmp_path / "elsewhere").mkdir()
    (garden,) = settings_in_force(configured(tmp_path / "elsewhere"), store, of=()).telescopes
    assert garden.key_path == tmp_path / "elsewhere" / "data" / "keys" / "0123456789abcdef.pem"


def test_a_look_that_never_was_is_refused(first_run: FirstRun) -> None:
    assert first_run.gateway.get("/setup/telescopes/checked", trial=99).status_code == 404
    assert first_run.send("/setup/telescopes/add", {"trial": "99"}).status_code == 404
    assert first_run.send("/setup/telescopes/add", {"trial": "9" * 40}).status_code == 404


def test_the_site_is_kept_and_shown_to_a_tenth_of_a_degree(first_run: FirstRun) -> None:
    wrong = first_run.send("/setup/site", {"latitude": "148.2", "longitude": "x"})
    assert wrong.status_code == 422
    assert "observatory.latitude" in wrong.text
    assert first_run.settings().observatory.latitude is None
    first_run.send(
        "/setup/site",
        {
            "latitude": "48,20849",
            "longitude": "16.37",
            "timezone": "Europe/Vienna",
            "share_location": "exact",
        },
    )
    site = first_run.settings().observatory
    assert (site.latitude, site.longitude, site.timezone, site.share_location) == (
        48.20849,
        16.37,
        "Europe/Vienna",
        "exact",
    )
    page = first_run.see("/setup/site")
    assert "near 48.2°, 16.4°" in page
    assert "48.20849" not in page + first_run.see("/setup/start")
    first_run.send("/setup/site", {"latitude": "", "longitude": "", "timezone": "auto"})
    assert first_run.settings().observatory.latitude == 48.20849
    first_run.send("/setup/site", {"forget": "yes"})
    assert first_run.settings().observatory.latitude is None


def test_the_login_is_tried_and_its_outcome_said(
    first_run: FirstRun, settings: Settings, tmp_path: Path
) -> None:
    login = {"username": "alice", "password": PASSWORD, "deliver": "yes", "scrub": "scrub"}
    page = first_run.said("/setup/crowdsky", login)
    assert "CrowdSky could not be asked just now" in page
    assert first_run.settings().crowdsky.password.get_secret_value() == PASSWORD
    port = int(settings.crowdsky.base_url.rpartition(":")[2])
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": "Lyra-57"}, port=port):
        refused = first_run.send("/setup/crowdsky", {**login, "password": "wrong"})
        assert refused.status_code == 422
        assert "does not know this user name with this password" in refused.text
        assert first_run.settings().crowdsky.password.get_secret_value() == PASSWORD
        page = first_run.said("/setup/crowdsky", {**login, "password": "Lyra-57"})
        assert "It works: CrowdSky has 0 stacks of yours" in page
    assert first_run.settings().crowdsky.password.get_secret_value() == "Lyra-57"
    assert "Lyra-57" not in page + first_run.see("/setup/crowdsky")


def test_nothing_is_delivered_where_a_person_says_so_and_the_network_is_optional(first_run: FirstRun) -> None:
    first_run.send(
        "/setup/crowdsky",
        {"deliver": "no", "scrub": "keep", "cloud_url": "http://10.0.0.9:8481/", "cloud": "yes"},
    )
    found = first_run.settings()
    assert (found.crowdsky.enabled, found.crowdsky.scrub_location) == (False, False)
    assert (found.cloud.enabled, found.cloud.url) == (True, "http://10.0.0.9:8481")
    assert first_run.send("/setup/crowdsky", {"cloud_url": "nowhere"}).status_code == 422
    first_run.send("/setup/crowdsky", {"deliver": "raw"})
    assert (first_run.settings().crowdsky.enabled, first_run.settings().crowdsky.route) == (True, "raw")


def test_what_the_file_sets_is_shown_and_not_asked(
    tmp_path: Path, store: Store, redis_server: RedisServer
) -> None:
    telescopes = [{"name": "roof", "host": "192.168.1.51"}]
    settings = configured(
        tmp_path, telescopes=telescopes, stacking={"when": "dawn"}, crowdsky={"enabled": False}
    )
    with running_gateway(store, redis_server.url, settings) as gateway:
        first_run = FirstRun(gateway, Home(store, redis_server, settings))
        assert "set in the file" in first_run.see("/setup/telescopes")
        assert "This is set in the file, which wins." in first_run.see("/setup/stacking")
        first_run.send("/setup/stacking", {"when": "idle", "min_exptime": "100"})
        found = first_run.settings().stacking
        assert (found.when, found.min_exptime) == ("dawn", 100.0)


def test_before_start_a_look_changes_nothing_and_after_it_the_night_begins(
    first_run: FirstRun, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    add(first_run, telescope)
    page = first_run.said("/setup/look")
    assert "1 block of 5 frames" in page
    assert "the oldest of 28 February 2026" in page
    home = first_run.home
    for _ in range(3):
        first_run.send("/setup/look")
        home.settings = first_run.settings()
        home.reconcile()
    assert [task for task, _ in home.nudges() if task not in _LOOKS] == []
    assert {each: asked(telescope, each) for each in CHANGES if asked(telescope, each)} == {}
    assert stacks_on(telescope) == []

    first_run.send("/setup/start")
    home.settings = first_run.settings()
    home.work()
    assert home.block().state == BlockState.STACKED
    assert len(stacks_on(telescope)) == 1


def test_start_is_written_once_with_who_pressed_it(first_run: FirstRun, store: Store) -> None:
    for _ in range(2):
        assert first_run.send("/setup/start").status_code == 200
    with store.read() as session:
        changes = session.scalars(select(SettingChange)).all()
        audits = session.scalars(select(AuditEntry.detail).where(AuditEntry.subject_kind == "setting")).all()
        assert session.scalars(select(Block)).all() == []
    assert [(row.key, row.value, row.changed_by) for row in changes] == [
        ("setup", "done", first_run.gateway.actor)
    ]
    assert audits == [{"keys": ["setup"]}]


def test_names_that_telescopes_give_themselves_stay_text(
    first_run: FirstRun, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(model="<script>alert(1)</script>")
    first_run.send("/setup/telescopes/find", {"where": f"127.0.0.1:{telescope.endpoint.udp_port}"})
    page = first_run.gateway.get("/setup/telescopes", discovery=first_run.discoveries()[-1].id).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
