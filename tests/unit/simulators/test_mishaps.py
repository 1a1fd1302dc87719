"""The plan of what goes wrong in a night."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from skyrelay_simulators.chaos.machine import Machine
from skyrelay_simulators.chaos.mishaps import Event, Kind, Mishap, plan_mishaps

SERVICES = ("gateway", "stacker", "uploader")


def planned(*kinds: Kind, kills: int = 2, seed: int = 1) -> list[Mishap]:
    return plan_mishaps(frozenset(kinds), SERVICES, kills, random.Random(seed))  # noqa: S311 - dice


def test_each_service_is_killed_as_often_as_wished_and_stopped_once() -> None:
    found = Counter(planned(Kind.KILL, Kind.FREEZE))
    assert found == {
        **{Mishap(Event.KILL, name): 2 for name in SERVICES},
        **{Mishap(Event.FREEZE, name): 1 for name in SERVICES},
    }


def test_the_name_of_a_mishap_names_the_service_it_happens_to() -> None:
    assert {each.name for each in planned(Kind.KILL)} == {"kill gateway", "kill stacker", "kill uploader"}
    assert [each.name for each in planned(Kind.DISK)] == ["fill the disk"]


def test_the_clock_jumps_both_ways() -> None:
    assert {each.event for each in planned(Kind.CLOCK)} == {Event.CLOCK_FORWARD, Event.CLOCK_BACK}


@given(st.sets(st.sampled_from(Kind)), st.integers(0, 5), st.integers())
def test_nothing_goes_wrong_that_was_not_wished_and_all_that_was(
    kinds: set[Kind], kills: int, seed: int
) -> None:
    found, everything, of_others = (
        planned(*some, kills=kills, seed=seed) for some in (kinds, Kind, set(Kind) - kinds)
    )
    assert Counter(found) + Counter(of_others) == Counter(everything)


@given(st.integers())
def test_the_same_dice_give_the_same_night(seed: int) -> None:
    assert planned(*Kind, seed=seed) == planned(*Kind, seed=seed)


def test_a_machine_of_which_nothing_is_wished_changes_no_command(tmp_path: Path) -> None:
    with Machine(tmp_path, frozenset()) as machine:
        assert machine.command(["skyrelay", "up"]) == ["skyrelay", "up"]
        assert machine.environment() == {}
        assert list(machine.left_out()) == []


def test_a_lost_name_is_out_of_the_services_list_of_hosts_and_comes_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, frozenset({Kind.DNS}))
    machine.lose_names(lost=False)
    assert "crowdsky.chaos.invalid" in (tmp_path / "hosts").read_text()
    machine.lose_names(lost=True)
    assert "crowdsky.chaos.invalid" not in (tmp_path / "hosts").read_text()
