"""Targets take turns: nobody starves, whatever arrives meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.turns import Waiting, next_target

NOW = datetime(2026, 2, 28, 5, tzinfo=UTC)


def test_of_nobody_nobody_is_next() -> None:
    assert next_target([]) is None


def test_who_was_never_served_goes_first_and_of_several_the_oldest() -> None:
    waiting = [
        Waiting("M 31", NOW - timedelta(hours=9), NOW),
        Waiting("M 42", NOW, None),
        Waiting("M 81", NOW - timedelta(hours=1), None),
    ]
    assert next_target(waiting) == "M 81"
    assert next_target(waiting[:2]) == "M 42"


@given(st.dictionaries(st.sampled_from("ABCDEFGH"), st.integers(1, 40), min_size=1))
def test_a_target_waits_for_no_more_turns_than_there_are_targets(backlog: dict[str, int]) -> None:
    served: dict[str, datetime] = {}
    waited = dict.fromkeys(backlog, 0)
    order = []
    while any(backlog.values()):
        waiting = [Waiting(t, NOW - timedelta(days=n), served.get(t)) for t, n in backlog.items() if n]
        target = next_target(waiting)
        assert target is not None
        order.append(target)
        backlog[target] -= 1
        served[target] = NOW + timedelta(minutes=len(order))
        for one in waiting:
            waited[one.target] = 0 if one.target == target else waited[one.target] + 1
        assert max(waited.values()) < len(waited)
    assert not any(backlog.values())
