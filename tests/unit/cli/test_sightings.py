"""Those that were found against those that are configured: who is who, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from skyrelay.cli.sightings import Answer, Sighting, sight
from skyrelay.domain.states import Reach, TelescopeState
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus
from skyrelay.seestar.discovery import Discovered
from skyrelay.settings import TelescopeSettings

HOME, NEW = "192.168.1.50", "192.168.1.77"
READY = TelescopeStatus(TelescopeState.READY, "it is idle")
NO_KEY = TelescopeStatus(TelescopeState.KEY_MISSING, "garden wants a key")


def garden(**changes: Any) -> TelescopeSettings:
    return TelescopeSettings(**{"name": "garden", "host": HOME, **changes})


def found(serial: str = "a", *hosts: str) -> Discovered:
    there = hosts or (HOME,)
    return Discovered(serial, there[0], "Seestar S50", hosts=there)


def says(serial: str, status: TelescopeStatus = READY) -> Answer:
    return Answer(DeviceInfo(serial, "Seestar S50"), status)


def away(reach: Reach) -> Answer:
    return Answer(None, TelescopeStatus(TelescopeState.UNREACHABLE, f"it is {reach}", reach=reach))


def only(
    settings: TelescopeSettings | None,
    telescope: Discovered | None,
    answer: Answer | None = None,
    *,
    elsewhere: Answer | None = None,
    recorded: str | None = None,
) -> Sighting:
    """Give the only sighting."""
    (sighting,) = sight(
        [settings] if settings else [],
        [telescope] if telescope else [],
        answers={"garden": answer} if answer else {},
        elsewhere={telescope.serial: elsewhere} if telescope and elsewhere else {},
        recorded={"garden": recorded} if recorded else {},
    )
    return sighting


def test_a_configured_telescope_at_its_address_needs_nothing() -> None:
    seen = only(garden(), found("a", HOME, "10.0.0.2"), says("a"))
    assert (seen.name, seen.serial, seen.hosts, seen.what_to_do) == ("garden", "a", (HOME, "10.0.0.2"), "")
    assert seen.status is READY


def test_one_that_is_not_configured_comes_with_the_lines_that_configure_it() -> None:
    seen = only(None, found("a", NEW), elsewhere=says("a"))
    assert (seen.name, seen.status) == (None, READY)
    assert f"add {{name: …, host: {NEW}, serial: a}} to telescopes" in seen.what_to_do


@pytest.mark.parametrize("known", ["configured", "recorded"])
@pytest.mark.parametrize(
    "answer", [away(Reach.SILENT), away(Reach.REFUSED), says("b"), Answer(None, NO_KEY), None], ids=str
)
def test_one_that_moved_is_named_with_both_addresses(known: str, answer: Answer | None) -> None:
    settings = garden(serial="a") if known == "configured" else garden()
    seen = only(settings, found("a", NEW), answer, elsewhere=says("a"), recorded="a")
    assert (seen.name, seen.serial, seen.hosts, seen.status) == ("garden", "a", (NEW,), READY)
    assert seen.what_to_do.startswith(f"address changed: configured {HOME}, answers at {NEW}: set")


def test_one_without_a_key_at_its_own_address_has_not_moved() -> None:
    seen = only(garden(), found("a"), Answer(None, NO_KEY))
    assert (seen.serial, seen.status, seen.what_to_do) == ("a", NO_KEY, "")


def test_a_host_name_is_not_taken_for_a_wrong_address() -> None:
    seen = only(garden(host="seestar.local", serial="a"), found("a", NEW), Answer(None, NO_KEY))
    assert (seen.status, seen.what_to_do) == (NO_KEY, "")
    moved = only(garden(host="seestar.local", serial="a"), found("a", NEW), away(Reach.NO_SUCH_NAME))
    assert "address changed: configured seestar.local" in moved.what_to_do


def test_one_that_is_switched_off_is_shown_with_what_its_address_says() -> None:
    seen = only(garden(), None, away(Reach.REFUSED))
    assert (seen.answers, seen.serial, seen.status.reason) == (False, None, "it is refused")


def test_one_that_does_not_answer_to_discovery_is_there_all_the_same() -> None:
    seen = only(garden(), None, says("a"))
    assert (seen.answers, seen.serial, seen.model) == (True, "a", "Seestar S50")


def test_another_telescope_at_its_address_is_not_taken_for_it() -> None:
    seen = only(garden(serial="a"), None, says("b"))
    assert (seen.answers, seen.serial, seen.status.reach) == (False, "a", Reach.STRANGER)
    assert seen.status.reason == "another telescope (b) answers at its address"


def test_one_that_says_nothing_in_time_is_said_to() -> None:
    seen = only(garden(), found("a"))
    assert (seen.serial, seen.status.reason) == ("a", "it did not say in time what it does")


def test_each_telescope_is_shown_once() -> None:
    settings = [garden(), garden(name="roof", host=NEW)]
    seen = sight(
        settings,
        [found("a", NEW), found("b", HOME), found("c", "10.0.0.9")],
        answers={"garden": says("b"), "roof": says("a")},
        elsewhere={"c": says("c")},
        recorded={"garden": "a", "roof": "b"},
    )
    assert [(one.name, one.serial) for one in seen] == [("garden", "a"), ("roof", "b"), (None, "c")]
    assert all("address changed" in one.what_to_do for one in seen[:2])


def test_machines_get_the_same() -> None:
    given = only(garden(), found("a"), says("a")).as_json()
    assert given["serial"] == "a"
    assert (given["state"], given["reach"], given["hosts"]) == ("ready", "answers", [HOME])
