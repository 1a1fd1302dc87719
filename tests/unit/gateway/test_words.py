"""The gateway's words: every state has some, and a wrong name leads to the right one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.domain.states import HOST_ANSWERS, Reach, TelescopeState
from skyrelay.domain.telescope_words import REACH_WORDS, TELESCOPE_WORDS
from skyrelay.store.tables import Telescope
from skyrelay_gateway.problems import nearest
from skyrelay_gateway.words import (
    NEEDS_A_PERSON,
    ago,
    reach_words,
    remedy_words,
    state_words,
    telescope_words,
)

NOW = datetime(2025, 3, 27, 1, 15, tzinfo=UTC)


def test_every_state_of_a_telescope_has_words_of_its_own() -> None:
    assert len({state_words(state) for state in TelescopeState}) == len(TelescopeState)
    assert len({remedy_words(state) for state in NEEDS_A_PERSON}) == len(NEEDS_A_PERSON)
    assert TelescopeState.UNREACHABLE not in NEEDS_A_PERSON, "a sleeping telescope needs nobody"


def test_the_pages_and_home_assistant_say_the_same() -> None:
    assert {state: state_words(state) for state in TelescopeState} == TELESCOPE_WORDS
    assert {reach: reach_words(reach) for reach in Reach if reach is not Reach.ANSWERS} == REACH_WORDS


def words(state: TelescopeState, reach: Reach | None = None) -> str:
    return telescope_words(Telescope(name="garden", state=state, reach=reach))


def test_each_way_of_being_away_has_words_of_its_own_and_no_more_is_claimed_than_is_known() -> None:
    away = {reach: words(TelescopeState.UNREACHABLE, reach) for reach in Reach if reach is not Reach.ANSWERS}
    assert away == {reach: reach_words(reach) for reach in away}
    assert len(set(away.values())) == len(away)
    for reach, said in away.items():
        is_there = reach in HOST_ANSWERS - {Reach.STRANGER}
        assert said.startswith("On, but") is is_there, "only a host that answers is said to be on"
        if "off" in said.lower():
            assert "Wi-Fi" in said, "without an answer nobody can tell no power from no Wi-Fi"
    assert words(TelescopeState.KEY_MISSING, Reach.ANSWERS) not in away.values()


def test_one_that_is_away_for_a_reason_unknown_is_called_so() -> None:
    assert words(TelescopeState.UNREACHABLE) == "Asleep or out of reach"
    assert words(TelescopeState.READY, Reach.ANSWERS) == "Idle, free to stack"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (None, "never"),
        (NOW - timedelta(seconds=2), "now"),
        (NOW - timedelta(seconds=42), "42 s ago"),
        (NOW - timedelta(minutes=3, seconds=50), "3 min ago"),
        (NOW - timedelta(days=2, hours=3), "2 d ago"),
        (NOW + timedelta(hours=1, minutes=10), "in 1 h"),
    ],
)
def test_times_are_written_for_people(moment: datetime | None, words: str) -> None:
    assert ago(moment, NOW) == words


@pytest.mark.parametrize(("wrong", "right"), [("M81", "M 81"), ("m 31", "M 31"), ("zebra", None)])
def test_the_nearest_name_is_found_whatever_its_case(wrong: str, right: str | None) -> None:
    assert nearest(wrong, ["M 31", "M 81", "NGC 7000"]) == right
