"""The rules that a telescope's journal is held against: what breaks each, and what does not."""

from __future__ import annotations

import pytest

from skyrelay_simulators.telescope import Journal, SystemClock
from skyrelay_simulators.telescope.conduct import (
    Misconduct,
    assert_each_stacked_once,
    assert_good_conduct,
    assert_no_start_while_observing,
    assert_one_listing_at_a_time,
    completed_stacks,
    misconduct,
)

A, B = "10.0.0.1:1", "10.0.0.2:1"
NUMBER, NAME = "get_img_file_page_number", "get_img_file_page_name"


@pytest.fixture
def journal() -> Journal:
    return Journal(SystemClock())


def ask(journal: Journal, *asked: tuple[str, str]) -> None:
    for connection, method in asked:
        journal.note("rpc", connection, method)


def test_listings_one_after_the_other_are_good(journal: Journal) -> None:
    ask(journal, (A, NUMBER), (A, NAME), (A, NAME), (B, NUMBER), (B, NAME), (A, NUMBER), (A, NAME))
    assert_one_listing_at_a_time(journal.entries())


def test_a_page_after_another_client_moved_the_cursor_is_a_listing_at_once(journal: Journal) -> None:
    ask(journal, (A, NUMBER), (A, NAME), (B, NUMBER), (A, NAME))
    with pytest.raises(Misconduct, match=r"10\.0\.0\.1:1 reads a page of a listing, but 10\.0\.0\.2:1"):
        assert_one_listing_at_a_time(journal.entries())


def test_a_page_of_somebody_elses_listing_is_one_too(journal: Journal) -> None:
    ask(journal, (A, NUMBER), (B, NAME))
    with pytest.raises(Misconduct):
        assert_one_listing_at_a_time(journal.entries())


def test_a_listing_may_go_on_after_its_connection_dropped(journal: Journal) -> None:
    ask(journal, (A, NUMBER), (A, NAME), (A, "disconnect"), (B, NAME))
    assert_one_listing_at_a_time(journal.entries())


def test_a_refused_listing_moves_no_cursor(journal: Journal) -> None:
    ask(journal, (A, NUMBER))
    journal.note("rpc", B, NUMBER, code=102)
    ask(journal, (A, NAME))
    assert_one_listing_at_a_time(journal.entries())


def test_a_start_after_seeing_it_observe_is_misconduct(journal: Journal) -> None:
    journal.note("telescope", "", "observing")
    ask(journal, (A, "get_view_state"))
    journal.note("rpc", A, "start_batch_stack", code=207)
    with pytest.raises(Misconduct, match="is seen to observe"):
        assert_no_start_while_observing(journal.entries())


def test_a_start_without_a_look_is_misconduct_while_it_observes_alone(journal: Journal) -> None:
    ask(journal, (A, "start_batch_stack"))
    assert_no_start_while_observing(journal.entries())
    journal.note("telescope", "", "observing")
    ask(journal, (B, "start_batch_stack"))
    with pytest.raises(Misconduct, match=r"10\.0\.0\.2"):
        assert_no_start_while_observing(journal.entries())


def test_an_observation_that_began_since_the_look_is_nobodys_fault(journal: Journal) -> None:
    ask(journal, (A, "get_view_state"))
    journal.note("telescope", "", "observing")
    ask(journal, (A, "start_batch_stack"))
    journal.note("telescope", "", "idle")
    ask(journal, (A, "get_view_state"), (A, "start_batch_stack"))
    assert_no_start_while_observing(journal.entries())


def stacked(journal: Journal, *names: str, ended: str = "complete") -> None:
    journal.note("stack", "", ended, params={"names": list(names)})


def test_each_block_is_to_be_stacked_once(journal: Journal) -> None:
    stacked(journal, "a", "b")
    stacked(journal, "c", ended="fail")
    stacked(journal, "c", ended="begin")
    stacked(journal, "c")
    assert completed_stacks(journal.entries()) == [frozenset("ab"), frozenset("c")]
    assert_each_stacked_once(journal.entries(), [{"b", "a"}, {"c"}])
    with pytest.raises(Misconduct, match="1 frames from d: not stacked"):
        assert_each_stacked_once(journal.entries(), [{"a", "b"}, {"d"}])
    stacked(journal, "b", "a")
    with pytest.raises(Misconduct, match="2 frames from a: stacked 2 times"):
        assert_each_stacked_once(journal.entries())


def test_all_that_was_broken_is_told(journal: Journal) -> None:
    assert_good_conduct(journal.entries())
    ask(journal, (A, NUMBER), (B, NAME))
    stacked(journal, "a")
    stacked(journal, "a")
    assert len(misconduct(journal.entries())) == 2
    with pytest.raises(Misconduct):
        assert_good_conduct(journal.entries())
