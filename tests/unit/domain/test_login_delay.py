"""Wrong passwords cost time, and never all of it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.login_delay import (
    FREE_TRIES,
    FREE_TRIES_OF_ALL,
    LONGEST_OF_ALL,
    LONGEST_OF_ONE,
    delay_of_all,
    delay_of_one,
)
from skyrelay.domain.password_rule import MAX_PASSWORD, MIN_PASSWORD, weakness_of

FAILURES = st.integers(min_value=0, max_value=10**9)


def test_mistyping_costs_nothing() -> None:
    assert delay_of_one(FREE_TRIES - 1) == delay_of_all(FREE_TRIES_OF_ALL - 1) == timedelta(0)


@given(FAILURES)
def test_each_further_failure_costs_at_least_as_much_and_none_more_than_the_most(failures: int) -> None:
    assert delay_of_one(failures) <= delay_of_one(failures + 1) <= LONGEST_OF_ONE
    assert delay_of_all(failures) <= delay_of_all(failures + 1) <= LONGEST_OF_ALL


def test_a_day_of_guessing_is_no_more_than_some_thousand_tries() -> None:
    assert timedelta(days=1) / delay_of_one(100) < 100
    assert timedelta(days=1) / delay_of_all(10_000) < 3_000


@given(st.text(min_size=MIN_PASSWORD, max_size=MAX_PASSWORD).filter(lambda text: len(set(text)) > 3))
def test_any_letters_make_a_password_if_they_are_enough(password: str) -> None:
    assert weakness_of(password) is None


@given(st.text(max_size=MIN_PASSWORD - 1))
def test_too_few_letters_make_none(password: str) -> None:
    assert "too short" in (weakness_of(password) or "")
