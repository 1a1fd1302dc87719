"""When the stacker's children come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skyrelay_stacker.patience import Patience

counts = st.integers(1, 9)


def test_a_child_comes_for_what_waits_at_two_looks() -> None:
    patience = Patience(0.0)
    assert [patience.change(2, 1, at) for at in (0.5, 1.0)] == [0, 1]


def test_no_child_comes_for_what_is_done_by_the_next_look() -> None:
    patience = Patience(0.0)
    assert [patience.change(wanted, 1, at) for at, wanted in enumerate((3, 1, 3, 1, 3, 1))] == [0] * 6


def test_all_that_is_missing_comes_at_once() -> None:
    patience = Patience(0.0)
    patience.change(8, 1, 0.5)
    assert patience.change(5, 1, 1.0) == 4


def test_children_stay_for_a_minute_after_the_last_of_them_was_needed() -> None:
    patience = Patience(0.0)
    patience.change(3, 3, 100.0)
    assert [patience.change(1, 3, at) for at in (100.5, 160.0, 160.5)] == [0, 0, -2]


@given(st.lists(st.tuples(counts, counts, st.floats(0.1, 200.0)), max_size=30))
def test_never_more_than_wanted_and_never_fewer(looks: list[tuple[int, int, float]]) -> None:
    patience, now_s = Patience(0.0), 0.0
    for wanted, there, pause_s in looks:
        now_s += pause_s
        assert patience.change(wanted, there, now_s) in {0, wanted - there}
