"""Which of the server's rows is ours, which may be, and which is another's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.crowdsky.matching import Finding, StackIdentity, find_ours
from skyrelay.crowdsky.stacks import ServerStack

START = datetime(2025, 3, 27, 1, 20, 32, 955_368, tzinfo=UTC)
END = datetime(2025, 3, 27, 1, 27, 7, tzinfo=UTC)
KEY = "20250327.05_HP033810"
OURS = StackIdentity("1d3fe189", "IRCUT", START, END, frozenset({KEY}))
ROW = ServerStack(
    id=3,
    chunk_key=KEY,
    telescope_id="S50_1d3fe189",
    filter_name="IRCUT",
    date_obs_start=START.replace(microsecond=0),
    date_obs_end=END,
)
NEIGHBOUR = replace(ROW, id=4, filter_name="LP")


def test_ours_is_found_among_others_of_the_same_key() -> None:
    assert find_ours([NEIGHBOUR, replace(ROW, telescope_id="S50_99999999"), ROW], OURS) == Finding(ROW)


def test_an_equal_key_proves_nothing() -> None:
    assert find_ours([NEIGHBOUR], OURS) == Finding()


def test_an_empty_list_holds_nothing() -> None:
    assert find_ours([], OURS) == Finding()


@pytest.mark.parametrize("key", [KEY, None])
def test_a_row_that_says_too_little_may_be_ours(key: str | None) -> None:
    row = ServerStack(id=9, chunk_key=key)
    assert find_ours([row], OURS) == Finding(None, may_be=row)


def test_a_row_that_says_too_little_of_another_chunk_is_not_ours() -> None:
    assert find_ours([ServerStack(id=9, chunk_key="20240101.00_HP000001")], OURS) == Finding()


def test_a_row_that_is_surely_ours_outweighs_one_that_may_be() -> None:
    assert find_ours([ServerStack(id=9), ROW], OURS) == Finding(ROW)


def test_another_end_is_another_stack() -> None:
    longer = replace(ROW, date_obs_end=END + timedelta(seconds=10))
    assert find_ours([longer], OURS) == Finding()


OF_A_FILE = replace(OURS, last_start_at=None, total_exptime_s=320.0)


@pytest.mark.parametrize("end", [END, None])
@pytest.mark.parametrize("key", [KEY, "20250327.04_HP033810"])
def test_of_a_file_which_does_not_tell_its_end_all_else_decides(end: datetime | None, key: str) -> None:
    row = replace(ROW, date_obs_end=end, chunk_key=key, total_exptime_s=320.0)
    assert find_ours([row], OF_A_FILE) == Finding(row)


def test_of_a_file_a_row_without_a_total_exposure_may_be_it() -> None:
    assert find_ours([ROW], OF_A_FILE) == Finding(None, may_be=ROW)


def test_of_a_stack_whose_end_is_known_a_row_without_an_end_may_be_it() -> None:
    row = replace(ROW, date_obs_end=None, total_exptime_s=320.0)
    assert find_ours([row], replace(OURS, total_exptime_s=320.0)) == Finding(None, may_be=row)


def test_another_total_exposure_makes_it_another_stack() -> None:
    assert find_ours([replace(ROW, total_exptime_s=310.0)], OF_A_FILE) == Finding()


def test_a_file_of_another_filter_or_telescope_is_not_there_whatever_its_key() -> None:
    assert find_ours([NEIGHBOUR, replace(ROW, telescope_id="S50_99999999")], OF_A_FILE) == Finding()
