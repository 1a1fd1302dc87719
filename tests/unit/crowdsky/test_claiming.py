"""Which output is a block's, and what it is called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.crowdsky.claiming import candidates, free_name, has_filter, name_stack, position_of
from skyrelay.domain.block import BlockKey
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from skyrelay.fits_header import FitsHeader

KEY = BlockKey(datetime(2025, 3, 27, 1, 15, tzinfo=UTC), "M 94", "10.0s", "IRCUT")
OURS = "DSO_Stacked_32_M 94_10.0s_20250327_030000.fit"
NEW_YORK = timedelta(hours=-4)


def names_of(*lying_there: str, before: tuple[str, ...] = (), given: int = 32) -> list[str]:
    """Name the candidates."""
    return [name.build() for name in candidates(lying_there, before, KEY, given)]


def test_a_new_stack_of_the_blocks_kind_is_a_candidate() -> None:
    assert names_of(OURS, "DSO_Stacked_32_M 94_10.0s_20250327_030000.jpg") == [OURS]


@pytest.mark.parametrize(
    "other",
    [
        "DSO_Stacked_33_M 94_10.0s_20250327_030000.fit",
        "DSO_Stacked_32_M 81_10.0s_20250327_030000.fit",
        "DSO_Stacked_32_M 94_20.0s_20250327_030000.fit",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
        "Light_M 94_10.0s_IRCUT_20250326-212046.fit",
        "notes.fit",
    ],
)
def test_a_stack_of_more_frames_or_of_something_else_is_none(other: str) -> None:
    assert names_of(other) == []


def test_a_stack_of_fewer_frames_is_one_since_frames_are_rejected() -> None:
    fewer = OURS.replace("_32_", "_7_")
    assert names_of(fewer) == [fewer]


def test_a_stack_that_lay_there_before_the_start_is_its_owners() -> None:
    assert names_of(OURS, before=(OURS,)) == []


def test_an_exposure_written_otherwise_is_the_same() -> None:
    assert names_of("DSO_Stacked_32_M 94_10s_20250327_030000.fit") != []


@pytest.mark.parametrize(
    ("card", "filter_", "fits"),
    [
        ("IRCUT", "IRCUT", True),
        ("ircut ", "IRCUT", True),
        ("LP", "IRCUT", False),
        ("", "IRCUT", True),
        ("LP", "", True),
    ],
)
def test_the_header_must_not_name_another_filter(card: str, filter_: str, fits: bool) -> None:
    assert has_filter(FitsHeader({"FILTER": card}, 0), filter_) is fits


@pytest.mark.parametrize(
    "cards",
    [{}, {"RA": 193.04}, {"RA": 193.04, "DEC": 91.0}, {"RA": 400.0, "DEC": 0.0}, {"RA": "here", "DEC": 1.0}],
)
def test_a_position_that_is_none_is_not_known(cards: dict[str, str | float]) -> None:
    assert position_of(FitsHeader(cards, 0)) is None


def test_a_quarter_hours_stack_gets_the_current_name() -> None:
    naming = name_stack(KEY, NEW_YORK, 32, (193.04166, 40.970556), ".fit")
    assert naming.crowdsky_name == "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
    assert str(naming.chunk_key) == "20250327.05_HP033810"


@pytest.mark.parametrize("minutes", [1, 5, 10, 30, 60])
def test_a_stack_of_another_length_gets_the_legacy_name_of_its_local_start(minutes: int) -> None:
    key = BlockKey(KEY.start, KEY.target, KEY.exposure, KEY.filter, minutes)
    naming = name_stack(key, NEW_YORK, 10, (193.04166, 40.970556), ".fit")
    assert naming.crowdsky_name == "CrowdSky_10_M 94_10.0s_IRCUT_20250326-211500.fit"
    assert isinstance(parse_stack_name(naming.crowdsky_name), CrowdSkyLegacyName)
    assert str(naming.chunk_key) == "20250327.05_HP033810"


def test_an_unknown_position_is_written_as_pixel_nought_and_kept_as_unknown() -> None:
    naming = name_stack(KEY, NEW_YORK, 32, None, ".fit")
    parsed = parse_stack_name(naming.crowdsky_name)
    assert isinstance(parsed, CrowdSkyName)
    assert parsed.key.pixel == 0
    assert (naming.chunk_key.pixel, str(naming.chunk_key)) == (None, "20250327.05")


def test_a_taken_name_gets_a_number_behind_it() -> None:
    name = "CrowdSky_10_M 94_10.0s_IRCUT_20250326-211500.fit"
    second = "CrowdSky_10_M 94_10.0s_IRCUT_20250326-211500_2.fit"
    assert free_name(name, ()) == name
    assert free_name(name, (name.upper(),)) == second
    assert free_name(name, (name, second)).endswith("_3.fit")
