"""The state machines are whole: each state has its steps, and from each there is a way to an end."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from skyrelay.domain.states import (
    BLOCK_STEPS,
    DELIVERY_STEPS,
    FINAL_BLOCKS,
    IN_TOUCH,
    OPEN_BLOCKS,
    OWED_DELIVERIES,
    BlockState,
    DeliveryState,
    TelescopeState,
)

S = TypeVar("S", bound=StrEnum)


def reachable(steps: Mapping[S, frozenset[S]], start: S) -> set[S]:
    seen = {start}
    while more := {to for state in seen for to in steps[state]} - seen:
        seen |= more
    return seen


@pytest.mark.parametrize(("states", "steps"), [(BlockState, BLOCK_STEPS), (DeliveryState, DELIVERY_STEPS)])
def test_each_state_says_what_may_follow_and_none_follows_itself(
    states: type[StrEnum], steps: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    assert set(steps) == set(states)
    assert all(state not in following for state, following in steps.items())


def test_from_each_block_there_is_a_way_to_an_end() -> None:
    for state in BlockState:
        assert reachable(BLOCK_STEPS, state) & FINAL_BLOCKS, state
    assert BLOCK_STEPS[BlockState.COVERED] == {BlockState.COLLECTING}, "only for another stack, if wished"
    assert BLOCK_STEPS[BlockState.STACKED] == {BlockState.COLLECTING}, "only for another stack, if wished"


def test_each_block_state_can_be_come_to() -> None:
    assert reachable(BLOCK_STEPS, BlockState.COLLECTING) == set(BlockState)


def test_a_block_is_open_under_way_or_final() -> None:
    assert OPEN_BLOCKS | FINAL_BLOCKS | {BlockState.STACKING} == set(BlockState)
    assert not OPEN_BLOCKS & FINAL_BLOCKS


def test_a_block_becomes_a_stack_only_by_being_stacked() -> None:
    assert {state for state, to in BLOCK_STEPS.items() if BlockState.STACKED in to} == {BlockState.STACKING}
    assert {state for state, to in BLOCK_STEPS.items() if BlockState.STACKING in to} == {BlockState.READY}


def test_from_each_delivery_there_is_a_way_to_be_confirmed() -> None:
    for state in DeliveryState:
        assert DeliveryState.CONFIRMED in reachable(DELIVERY_STEPS, state), state
    assert reachable(DELIVERY_STEPS, DeliveryState.PENDING) == set(DeliveryState)
    assert [state for state in DeliveryState if not DELIVERY_STEPS[state]] == [DeliveryState.CONFIRMED]


def test_nothing_goes_back_to_pending_but_the_dead() -> None:
    back = {state for state, to in DELIVERY_STEPS.items() if DeliveryState.PENDING in to}
    assert back == {DeliveryState.DEAD}


def test_what_the_server_has_is_owed_no_more() -> None:
    assert not OWED_DELIVERIES & {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED, DeliveryState.DEAD}


def test_a_telescope_is_in_touch_where_its_answer_said_what_it_does() -> None:
    away = {TelescopeState.UNKNOWN, TelescopeState.UNREACHABLE}
    away |= {TelescopeState.KEY_MISSING, TelescopeState.KEY_REFUSED}
    assert not IN_TOUCH & away
