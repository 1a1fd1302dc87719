"""A light frame's name reads back as what it was made of, and nothing else passes for one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.domain.light_frame import LightFrameName, parse_stamp, target_of_folder
from skyrelay.domain.utc_offset import exposure_start
from support.strategies import exposures, extensions, filters, seconds, targets

_SAVED_LOCAL = datetime(2025, 3, 26, 21, 20, 46)  # noqa: DTZ001 - the wall clock of a name

light_frame_names = st.builds(LightFrameName, targets, exposures, filters, seconds, extensions)


@settings(deadline=None, max_examples=300)
@given(light_frame_names)
def test_a_name_reads_back_as_what_it_was_made_of(name: LightFrameName) -> None:
    assert LightFrameName.parse(name.build()) == name


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.from_regex(r"\ALight_.*_[0-9]+(\.[0-9]+)?s_.*[0-9]{8}-[0-9]{6}\.fits?\Z")))
def test_any_text_is_a_name_that_can_be_used_or_none(text: str) -> None:
    name = LightFrameName.parse(text)
    if name is not None:
        assert 0.0 <= name.exposure_s < 100_000.0
        for hours in (-12, 14):
            exposure_start(name.saved_local, name.exposure_s, timedelta(hours=hours))


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        (
            "Light_M 94_10.0s_IRCUT_20250326-212046.fit",
            LightFrameName("M 94", "10.0s", "IRCUT", _SAVED_LOCAL),
        ),
        ("Light_M 94_10s_20250326-212046.fit", LightFrameName("M 94", "10s", "", _SAVED_LOCAL)),
        (
            "Light_mosaic_M 31_20.0s_LP_20250326-212046.fits",
            LightFrameName("mosaic_M 31", "20.0s", "LP", _SAVED_LOCAL, ".fits"),
        ),
        (
            "Light_a_10.0s_b_30.0s_LP_20250326-212046.FIT",
            LightFrameName("a_10.0s_b", "30.0s", "LP", _SAVED_LOCAL, ".FIT"),
        ),
        ("LIGHT_NGC_7000_10.0S_20250326-212046.fit", LightFrameName("NGC_7000", "10.0S", "", _SAVED_LOCAL)),
    ],
)
def test_names_that_telescopes_write(file_name: str, expected: LightFrameName) -> None:
    assert LightFrameName.parse(file_name) == expected


@pytest.mark.parametrize(
    "file_name",
    [
        "",
        "Light_",
        "Light_M 94_10.0s_IRCUT_20250326-212046.fit.part",
        "Light_M 94_10.0s_IRCUT_20250326-212046.jpg",
        "Light_M 94_10.0s_IRCUT_20250326-212046.fit\n",
        " Light_M 94_10.0s_IRCUT_20250326-212046.fit",
        "Light__10.0s_IRCUT_20250326-212046.fit",
        "Light_M 94_s_IRCUT_20250326-212046.fit",
        "Light_M 94_-10.0s_IRCUT_20250326-212046.fit",
        "Light_M 94_1e3s_IRCUT_20250326-212046.fit",
        "Light_M 94_10.0_IRCUT_20250326-212046.fit",
        "Light_../etc/passwd_10.0s_IRCUT_20250326-212046.fit",
        "Light_M\x0094_10.0s_IRCUT_20250326-212046.fit",
        "Light_M 94_10.0s_IRCUT_20250326_212046.fit",
        "Light_M 94_10.0s_IRCUT_\N{FULLWIDTH DIGIT TWO}0250326-212046.fit",
        "Light_M 94_10.0\N{LATIN SMALL LETTER LONG S}_IRCUT_20250326-212046.fit",
        "Light_M 94_10.0s_IRCUT_20250326-212046.f\N{LATIN SMALL LETTER DOTLESS I}t",
        f"Light_M 94_{'9' * 100}s_IRCUT_20250326-212046.fit",
        f"Light_M 94_{'9' * 5000}s_IRCUT_20250326-212046.fit",
        "DSO_Stacked_32_M 94_10.0s_20250326_212046.fit",
    ],
)
def test_what_is_no_light_frame(file_name: str) -> None:
    assert LightFrameName.parse(file_name) is None


@pytest.mark.parametrize(
    "stamp",
    [
        "20250230-000000",
        "20251301-000000",
        "20250101-240000",
        "20250101-006000",
        "20250101-000060",
        "00000101-000000",
        "00010101-000000",
        "99991231-235959",
        "2025011-0000000",
        "20250101-000000 ",
        "",
    ],
)
def test_a_moment_that_never_was_is_none(stamp: str) -> None:
    assert parse_stamp(stamp) is None
    assert LightFrameName.parse(f"Light_M 94_10.0s_IRCUT_{stamp}.fit") is None


def test_a_leap_day_is_a_day() -> None:
    assert parse_stamp("20240229-235959") == datetime(2024, 2, 29, 23, 59, 59)  # noqa: DTZ001 - local


@pytest.mark.parametrize(
    "name",
    [
        LightFrameName("", "10.0s", "LP", _SAVED_LOCAL),
        LightFrameName("a/b", "10.0s", "LP", _SAVED_LOCAL),
        LightFrameName("M 94", "10.0s", "20s", _SAVED_LOCAL),  # would read as target "M 94_10.0s"
        LightFrameName("M 94", "10.0s", "L_P", _SAVED_LOCAL),
        LightFrameName("M 94", "10.0", "LP", _SAVED_LOCAL),
        LightFrameName("M 94", "10.0s", "LP", _SAVED_LOCAL, ".jpg"),
        LightFrameName("M 94", "10.0s", "LP", _SAVED_LOCAL.replace(microsecond=1)),
        LightFrameName("M 94", "10.0s", "LP", _SAVED_LOCAL.replace(year=99)),
    ],
)
def test_no_name_is_made_that_would_read_as_something_else(name: LightFrameName) -> None:
    with pytest.raises(ValueError, match="no unambiguous light frame name"):
        name.build()


def test_the_exposure_is_read_in_seconds() -> None:
    assert LightFrameName("M 94", "12.5s", "LP", _SAVED_LOCAL).exposure_s == 12.5


@pytest.mark.parametrize(
    ("folder", "target"), [("M 81_sub", "M 81"), ("M 81", "M 81"), ("_sub_sub", "_sub"), ("_sub", "")]
)
def test_the_target_of_a_folder(folder: str, target: str) -> None:
    assert target_of_folder(folder) == target
