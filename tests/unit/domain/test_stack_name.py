"""Each of the three forms of a stack's name reads back as what it was made of, and as no other form."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.domain.chunk import PIXELS, ChunkKey, chunk_of
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import (
    CrowdSkyLegacyName,
    CrowdSkyName,
    DsoStackedName,
    StackName,
    parse_stack_name,
)
from support.strategies import exposures, extensions, filters, frame_counts, instants, seconds, targets

_LOCAL = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - the wall clock of a name
_KEY = ChunkKey("20250327.05", 33810)

chunk_keys = st.builds(
    ChunkKey,
    instants.map(chunk_of),
    st.one_of(st.none(), st.integers(0, PIXELS - 1)),
)
dso_names = st.builds(DsoStackedName, frame_counts, targets, exposures, seconds, filters, extensions)
crowdsky_names = st.builds(CrowdSkyName, frame_counts, targets, exposures, filters, chunk_keys, extensions)
legacy_names = st.builds(CrowdSkyLegacyName, frame_counts, targets, exposures, filters, seconds, extensions)


@settings(deadline=None, max_examples=300)
@given(st.one_of(dso_names, crowdsky_names, legacy_names))
def test_a_name_reads_back_as_what_it_was_made_of(name: StackName) -> None:
    file_name = name.build()
    assert type(name).parse(file_name) == name
    assert parse_stack_name(file_name) == name
    assert LightFrameName.parse(file_name) is None


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.from_regex(r"\A(DSO_Stacked|CrowdSky)_[0-9]+_.*_[0-9]+s_.*[0-9]{8}[-_.][0-9_HP]{2,12}\.fits?\Z"),
    )
)
def test_any_text_is_a_stack_or_none(text: str) -> None:
    name = parse_stack_name(text)
    assert name is None or 0 <= name.frames < 1_000_000


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        (
            "DSO_Stacked_32_M 94_10.0s_20250326_211500.fit",
            DsoStackedName(32, "M 94", "10.0s", _LOCAL),
        ),
        (
            "DSO_Stacked_32_mosaic_M 94_10.0s_LP_20250326_211500.fit",
            DsoStackedName(32, "mosaic_M 94", "10.0s", _LOCAL, "LP"),
        ),
        (
            "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
            CrowdSkyName(32, "M 94", "10.0s", "IRCUT", _KEY),
        ),
        (
            "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05.fits",
            CrowdSkyName(32, "M 94", "10.0s", "IRCUT", ChunkKey("20250327.05"), ".fits"),
        ),
        (
            "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP000000.fit",
            CrowdSkyName(32, "M 94", "10.0s", "IRCUT", ChunkKey("20250327.05", 0)),
        ),
        (
            "CrowdSky_32_M 94_10.0s_IRCUT_20250326-211500.fit",
            CrowdSkyLegacyName(32, "M 94", "10.0s", "IRCUT", _LOCAL),
        ),
        (
            "CrowdSky_7_12_Vul_10s_20250326-211500.fit",
            CrowdSkyLegacyName(7, "12_Vul", "10s", "", _LOCAL),
        ),
    ],
)
def test_names_that_are_found(file_name: str, expected: StackName) -> None:
    assert parse_stack_name(file_name) == expected
    assert expected.build() == file_name


@pytest.mark.parametrize(
    "file_name",
    [
        "DSO_Stacked_32_M 94_10.0s_20250326-211500.fit",
        "DSO_Stacked_M 94_10.0s_20250326_211500.fit",
        "DSO_Stacked_32_M 94_10.0s_20250230_211500.fit",
        f"DSO_Stacked_{'9' * 5000}_M 94_10.0s_20250326_211500.fit",
        "DSO_Stacked_32_M 94_10.0s_20250326_211500_thn.jpg",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250327.96_HP033810.fit",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250230.05_HP033810.fit",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP33810.fit",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250326-251500.fit",
        "CrowdSky_32_M/94_10.0s_IRCUT_20250327.05_HP033810.fit",
        "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit.part",
        "Light_M 94_10.0s_IRCUT_20250326-212046.fit",
    ],
)
def test_what_is_no_stack(file_name: str) -> None:
    assert parse_stack_name(file_name) is None


@pytest.mark.parametrize(
    "name",
    [
        DsoStackedName(-1, "M 94", "10.0s", _LOCAL),
        DsoStackedName(1_000_000, "M 94", "10.0s", _LOCAL),
        CrowdSkyName(1, "M 94", "10.0s", "20s", _KEY),
        CrowdSkyName(1, "M 94", "10.0s", "LP", ChunkKey("20250327.99", 1)),
        CrowdSkyName(1, "M 94", "10.0s", "LP", ChunkKey("20250327.05", 1_000_000)),
        CrowdSkyLegacyName(1, "", "10.0s", "LP", _LOCAL),
        CrowdSkyLegacyName(1, "M 94", "ten", "LP", _LOCAL),
    ],
)
def test_no_name_is_made_that_would_read_as_something_else(name: StackName) -> None:
    with pytest.raises(ValueError, match="no unambiguous stack name"):
        name.build()
