"""Which of the server's stacks are ours: telescope, filter, start and end, never the chunk key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.crowdsky.matching import is_ours
from skyrelay.crowdsky.stacks import ServerStack

START = datetime(2025, 3, 27, 1, 20, 32, 955_368, tzinfo=UTC)
END = datetime(2025, 3, 27, 1, 26, 57, 100_000, tzinfo=UTC)
OURS = ServerStack(
    chunk_key="20250327.05_HP033810",
    telescope_id="S50_1d3fe189",
    filter_name="IRCUT",
    date_obs_start=START.replace(microsecond=0),
    date_obs_end=END.replace(microsecond=0),
)


def verdict(row: ServerStack, serial: str = "1d3fe189", filter_name: str = "IRCUT") -> bool | None:
    return is_ours(
        row, telescope_serial=serial, filter_name=filter_name, date_obs_start=START, date_obs_end=END
    )


def test_ours_is_ours_whatever_its_key() -> None:
    assert verdict(OURS) is True
    assert verdict(replace(OURS, chunk_key=None)) is True
    assert verdict(replace(OURS, chunk_key="20250327.04_HP033810")) is True


@pytest.mark.parametrize("telescope_id", ["1d3fe189", "S30_1d3fe189", "s50_1D3FE189", " S50_1d3fe189 "])
@pytest.mark.parametrize("serial", ["1d3fe189", "S50_1d3fe189"])
def test_the_serial_counts_with_or_without_its_model(telescope_id: str, serial: str) -> None:
    assert verdict(replace(OURS, telescope_id=telescope_id), serial) is True


@pytest.mark.parametrize(
    "row",
    [
        replace(OURS, telescope_id="S50_2e4fe189"),
        replace(OURS, filter_name="LP"),
        replace(OURS, date_obs_start=START + timedelta(seconds=2.1)),
        replace(OURS, date_obs_end=END - timedelta(minutes=15)),
    ],
    ids=["telescope", "filter", "start", "end"],
)
def test_one_difference_makes_it_another_stack(row: ServerStack) -> None:
    assert verdict(row) is False
    assert verdict(replace(row, chunk_key=OURS.chunk_key)) is False


def test_two_seconds_are_still_the_same_time() -> None:
    assert verdict(replace(OURS, date_obs_start=START + timedelta(seconds=2))) is True
    assert verdict(replace(OURS, date_obs_end=END - timedelta(seconds=2))) is True


@pytest.mark.parametrize("field", ["telescope_id", "filter_name", "date_obs_start", "date_obs_end"])
def test_a_null_field_cannot_be_known(field: str) -> None:
    row = replace(OURS, **{field: None})

    assert verdict(row) is None


def test_a_difference_is_certain_even_beside_a_null() -> None:
    assert verdict(replace(OURS, telescope_id=None, filter_name="LP")) is False


def test_what_we_do_not_know_of_ourselves_cannot_be_compared() -> None:
    assert verdict(OURS, serial="") is None
    assert verdict(OURS, filter_name="") is None


def test_a_telescope_without_serial_cannot_be_known() -> None:
    assert verdict(replace(OURS, telescope_id="Seestar S50")) is None


def test_a_serial_of_another_form_is_compared_as_it_stands() -> None:
    assert verdict(replace(OURS, telescope_id="S50_garden"), serial="garden") is True
