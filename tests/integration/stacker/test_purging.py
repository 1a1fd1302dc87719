"""A purge in two steps: what is listed, what is confirmed, what is gone from the telescope afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.purge_states import PurgedFile, PurgeState
from skyrelay.domain.states import DeliveryState
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.store.tables import AuditEntry, Delivery, Purge, PurgeFile, PurgePart, Stack
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from skyrelay_stacker.purging import see_to_purge
from support.gateway import GatewayClient, running_gateway
from support.service_process import ServiceProcess
from support.telescopes import MakeTelescope, frame_names, take_frames
from support.waiting import eventually
from support.workshop import STACKING, Home

OURS = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
ANOTHERS = "CrowdSky_9_M 81_10.0s_IRCUT_20250101.12_HP006478.fit"
LONE_PICTURE = "CrowdSky_7_M 81_10.0s_IRCUT_20240101.12_HP006478_thn.jpg"
ALL = {"all": True, "wait_s": 0}


@pytest.fixture
def telescope(home: Home, make_telescope: MakeTelescope) -> SimulatedTelescope:
    """Give a telescope with a stack of ours that CrowdSky lists, and another program's files beside it."""
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    home.own(telescope)
    home.look_and_stack()
    home.change(Delivery, state=DeliveryState.CONFIRMED)
    folder = works(telescope) / "M 81"
    (folder / ANOTHERS).write_bytes(b"another program's")
    (folder / LONE_PICTURE).write_bytes(b"a picture")
    (folder / "DSO_Stacked_3_M 81_10.0s_20240101_120000.fit").write_bytes(b"the owner's")
    (works(telescope) / "M 81_sub" / "CrowdSky_not_a_stack.fit").write_bytes(b"among raw frames")
    return telescope


@contextmanager
def gateway_at(home: Home, later: timedelta = timedelta(0)) -> Iterator[GatewayClient]:
    def clock() -> datetime:
        return utc_now() + later

    with running_gateway(home.store, home.redis.url, home.settings, clock) as client:
        yield client


@pytest.fixture
def gateway(home: Home) -> Iterator[GatewayClient]:
    with gateway_at(home) as client:
        yield client


def works(telescope: SimulatedTelescope) -> Path:
    return telescope.emmc.root / "MyWorks"


def files_on(telescope: SimulatedTelescope) -> set[str]:
    return {str(path.relative_to(works(telescope))) for path in works(telescope).rglob("*") if path.is_file()}


def listed(home: Home, gateway: GatewayClient, wish: dict[str, Any] | None = None) -> Any:
    """Ask for a list, let the stacker make it, and give what the gateway then hands out."""
    asked = gateway.post("/api/v1/purge", {**ALL, **(wish or {})})
    assert (asked.status_code, asked.json()["token"]) == (202, None)
    purge_id = asked.json()["purge"]["id"]
    for part in home.rows(PurgePart):
        see_to_purge(home.workshop, part.id)
    answer = gateway.post("/api/v1/purge", {"purge_id": purge_id, "wait_s": 0})
    assert answer.status_code == 200
    return answer.json()


def names(purge: Any, state: PurgedFile) -> list[str]:
    (part,) = purge["telescopes"]
    return [file["name"] for file in part["files"] if file["state"] == state]


def confirm(gateway: GatewayClient, token: str) -> Any:
    answer = gateway.post("/api/v1/purge/confirm", {"token": token})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_what_is_confirmed_is_removed_and_written_down_and_nothing_else(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    before = files_on(telescope)
    answer = listed(home, gateway)
    assert files_on(telescope) == before, "a list removes nothing"
    doomed = names(answer["purge"], PurgedFile.DOOMED)
    assert {OURS, LONE_PICTURE} <= set(doomed)
    sizes = {file["name"]: file["size_bytes"] for file in answer["purge"]["telescopes"][0]["files"]}
    assert sizes[OURS] == (works(telescope) / "M 81" / OURS).stat().st_size
    assert names(answer["purge"], PurgedFile.KEPT) == [ANOTHERS]
    assert confirm(gateway, answer["token"])["state"] == PurgeState.REMOVING
    home.work()
    after = gateway.read(f"/api/v1/purges/{answer['purge']['id']}")
    assert (after["state"], names(after, PurgedFile.REMOVED)) == (PurgeState.DONE, doomed)
    assert before - files_on(telescope) == {f"M 81/{name}" for name in doomed}
    assert len(frame_names(telescope)) == 6, "light frames, and what lies among them, are never deleted"
    entries = [entry for entry in home.rows(AuditEntry) if entry.event == "purged"]
    assert [entry.reason for entry in entries] == [
        f"M 81/{name} was deleted from the telescope" for name in doomed
    ]
    assert {entry.actor for entry in entries} == {gateway.actor}


@pytest.mark.parametrize("state", [DeliveryState.RETRYING, DeliveryState.ACCEPTED])
def test_a_stack_that_crowdsky_does_not_list_yet_is_kept_and_named_unless_it_is_asked_for(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient, state: DeliveryState
) -> None:
    home.change(Delivery, state=state)
    purge = listed(home, gateway)["purge"]
    kept = {
        file["name"]: file["reason"] for file in purge["telescopes"][0]["files"] if file["state"] == "kept"
    }
    assert kept[OURS] == f"CrowdSky does not list it yet: its delivery is {state}"
    assert kept[OURS.replace(".fit", ".jpg")] == kept[OURS], "its picture shares its lot"
    all_of_it = listed(home, gateway, {"undelivered": True})["purge"]
    assert names(all_of_it, PurgedFile.KEPT) == []
    assert {file["name"] for file in all_of_it["telescopes"][0]["files"] if not file["is_delivered"]} >= {
        OURS
    }


@pytest.mark.usefixtures("telescope")
def test_a_file_of_another_size_than_the_delivered_stack_of_its_name_is_kept_and_named(
    home: Home, gateway: GatewayClient
) -> None:
    home.change(Stack, size_bytes=12)
    purge = listed(home, gateway)["purge"]
    kept = {file["name"]: file for file in purge["telescopes"][0]["files"] if file["state"] == "kept"}
    assert "another file than the stack of its name" in kept[OURS]["reason"]
    assert "that has 12" in kept[OURS]["reason"]
    assert (kept[OURS]["is_delivered"], OURS.replace(".fit", ".jpg") in kept) == (False, True)


@pytest.mark.usefixtures("telescope")
def test_a_token_is_good_once_for_ten_minutes_and_until_the_next(home: Home, gateway: GatewayClient) -> None:
    first = listed(home, gateway)
    again = gateway.post("/api/v1/purge", {"purge_id": first["purge"]["id"]}).json()
    assert gateway.post("/api/v1/purge/confirm", {"token": first["token"]}).status_code == 404
    with gateway_at(home, timedelta(minutes=11)) as later:
        assert later.post("/api/v1/purge/confirm", {"token": again["token"]}).status_code == 410
    confirm(gateway, again["token"])
    assert gateway.post("/api/v1/purge/confirm", {"token": again["token"]}).status_code == 409
    assert gateway.post("/api/v1/purge", {"purge_id": first["purge"]["id"]}).json()["token"] is None


def test_where_a_listed_file_changed_nothing_is_removed(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    answer = listed(home, gateway)
    (works(telescope) / "M 81" / OURS).write_bytes(b"another stack")
    before = files_on(telescope)
    confirm(gateway, answer["token"])
    home.work()
    after = gateway.read(f"/api/v1/purges/{answer['purge']['id']}")
    assert after["state"] == PurgeState.CHANGED
    assert OURS in after["telescopes"][0]["reason"]
    assert files_on(telescope) == before


def test_what_came_since_the_list_stays(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    answer = listed(home, gateway, {"undelivered": True})
    (works(telescope) / "M 81" / ANOTHERS.replace("2025", "2026")).write_bytes(b"new")
    confirm(gateway, answer["token"])
    home.work()
    left = [name for name in files_on(telescope) if name.startswith("M 81/CrowdSky_")]
    assert left == [f"M 81/{ANOTHERS.replace('2025', '2026')}"]


def test_a_worker_that_died_between_deleting_and_writing_it_down_is_followed_by_one_that_does(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    answer = listed(home, gateway)
    confirm(gateway, answer["token"])
    with home.store.write() as session:
        file = next(row for row in session.query(PurgeFile) if row.file_name == OURS)
        file.state = PurgedFile.REMOVING
    (works(telescope) / "M 81" / OURS).unlink()
    with connect_redis(home.redis.url) as redis:
        redis.flushall()
    home.reconcile()
    assert [task for task, _message in home.nudges()] == ["stacker.purge"], "a wiped Redis loses nothing"
    home.work()
    after = gateway.read(f"/api/v1/purges/{answer['purge']['id']}")
    assert after["state"] == PurgeState.DONE
    assert OURS in names(after, PurgedFile.REMOVED)


def test_nothing_is_removed_while_the_telescope_observes(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    answer = listed(home, gateway)
    telescope.observe("M 42")
    before = files_on(telescope)
    confirm(gateway, answer["token"])
    home.work()
    assert files_on(telescope) == before
    waiting = gateway.read(f"/api/v1/purges/{answer['purge']['id']}")
    assert waiting["state"] == PurgeState.REMOVING
    assert waiting["telescopes"][0]["reason"].startswith("waits: ")
    telescope.finish_observing()
    home.look()
    home.work()
    assert gateway.read(f"/api/v1/purges/{answer['purge']['id']}")["state"] == PurgeState.DONE


def test_a_telescope_that_cannot_be_listed_is_named_and_gets_no_token(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    telescope.stop()
    answer = listed(home, gateway)
    assert (answer["token"], answer["purge"]["state"]) == (None, PurgeState.FAILED)
    assert answer["purge"]["telescopes"][0]["reason"].startswith("cannot be listed: ")


@pytest.mark.usefixtures("telescope")
def test_a_target_without_a_folder_has_nothing_to_remove(home: Home, gateway: GatewayClient) -> None:
    answer = listed(home, gateway, {"all": False, "target": "M 82", "telescopes": ["garden"]})
    assert (answer["token"], answer["purge"]["files"]) == (None, {})
    assert answer["purge"]["telescopes"][0]["reason"] == "there is no folder M 82 on garden"


def test_an_offered_stack_that_was_removed_is_offered_no_more(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    home.change(Stack, is_offered=True)
    answer = listed(home, gateway, {"undelivered": True})
    confirm(gateway, answer["token"])
    home.work()
    assert f"M 81/{OURS}" not in files_on(telescope)
    assert not home.only_stack().is_offered


@pytest.mark.usefixtures("telescope")
def test_a_purge_that_cannot_go_on_for_a_day_is_given_up(home: Home, gateway: GatewayClient) -> None:
    answer = listed(home, gateway)
    confirm(gateway, answer["token"])
    with home.store.write() as session:
        session.get_one(Purge, answer["purge"]["id"]).confirmed_at = utc_now() - timedelta(hours=25)
    home.reconcile()
    after = gateway.read(f"/api/v1/purges/{answer['purge']['id']}")
    assert after["state"] == PurgeState.FAILED
    assert after["telescopes"][0]["reason"].startswith("given up after 1 day")


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({}, 422),
        ({"all": True, "target": "M 81"}, 422),
        ({"target": "../etc"}, 422),
        ({"telescopes": ["gardne"]}, 404),
        ({"purge_id": 7}, 404),
        ({"all": True}, 409),
    ],
)
def test_a_purge_of_what_is_not_there_is_refused(
    gateway: GatewayClient, wish: dict[str, Any], status: int
) -> None:
    assert gateway.post("/api/v1/purge", wish).status_code == status
    assert gateway.get("/api/v1/purges/1").status_code == 404


def test_a_running_stacker_lists_at_once_and_removes_what_is_confirmed(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient, tmp_path: Path
) -> None:
    settings = {
        "setup": "ask",  # what a person asks for is not held back
        "telescopes": [one.model_dump(mode="json") for one in home.settings.telescopes],
        "stacking": STACKING,
        "redis_url": home.redis.url,
        "database_url": str(home.store.engine.url),
        "data_dir": str(tmp_path / "data"),
    }
    with ServiceProcess("stacker", tmp_path / "services", settings):
        answer = gateway.post("/api/v1/purge", {"all": True, "wait_s": 30})
        assert answer.status_code == 200
        confirm(gateway, answer.json()["token"])
        purge_id = answer.json()["purge"]["id"]
        eventually(lambda: gateway.read(f"/api/v1/purges/{purge_id}")["state"] == PurgeState.DONE, 30)
    assert not (works(telescope) / "M 81" / OURS).exists()
    assert (works(telescope) / "M 81" / ANOTHERS).exists()
