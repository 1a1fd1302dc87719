"""Chunks are the quarter hours of the UTC day; a key adds the HEALPix pixel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.domain.chunk import CHUNK, PIXELS, ChunkKey, chunk_of, chunk_start, healpix_pixel, is_chunk
from support.strategies import instants


@settings(deadline=None)
@given(instants)
def test_a_chunk_contains_the_instants_that_it_is_named_for(instant: datetime) -> None:
    start = chunk_start(chunk_of(instant))
    assert start <= instant < start + CHUNK
    assert start.tzinfo is UTC
    assert chunk_of(start) == chunk_of(start + CHUNK - timedelta(microseconds=1)) == chunk_of(instant)
    assert chunk_of(start + CHUNK) > chunk_of(instant)


def test_a_day_has_96_chunks() -> None:
    midnight = datetime(2025, 3, 27, tzinfo=UTC)
    chunks = [chunk_of(midnight + index * CHUNK) for index in range(97)]
    assert chunks == [*(f"20250327.{index:02d}" for index in range(96)), "20250328.00"]


def test_a_chunk_is_of_the_utc_day() -> None:
    evening = datetime(2025, 3, 26, 21, 15, tzinfo=timezone(timedelta(hours=-4)))
    assert chunk_of(evening) == "20250327.05"
    assert chunk_start("20250327.05") == evening


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "20250327",
        "20250327.96",
        "20250327.5",
        "20250327.005",
        "20250230.05",
        "00000101.05",
        "20250327.-5",
        "20250327.+5",
        "2025 327.05",
        "20250327.05 ",
        "20250327.05_HP033810",
        "\N{FULLWIDTH DIGIT TWO}0250327.05",
    ],
)
def test_what_is_no_chunk(text: str) -> None:
    assert not is_chunk(text)
    with pytest.raises(ValueError, match=r"is no chunk|out of range"):
        chunk_start(text)


@settings(deadline=None)
@given(instants, st.one_of(st.none(), st.integers(0, PIXELS - 1)))
def test_a_key_reads_back_as_what_it_was_made_of(instant: datetime, pixel: int | None) -> None:
    key = ChunkKey(chunk_of(instant), pixel)
    assert ChunkKey.parse(str(key)) == key


@settings(deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"\A[0-9]{8}\.[0-9]{2}(_HP[0-9]{6})?\Z")))
def test_any_text_is_a_key_or_none(text: str) -> None:
    key = ChunkKey.parse(text)
    assert key is None or str(key) == text


@pytest.mark.parametrize(
    "text", ["20250327.05_HP3810", "20250327.05_HP", "20250327.05_033810", "20250327.96_HP033810"]
)
def test_what_is_no_key(text: str) -> None:
    assert ChunkKey.parse(text) is None


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "pixel"),
    [
        (193.04166, 40.970556, 33810),  # M 94 as observed: Seestar S50, firmware 4.27
        (193.070835, 40.979722, 33810),
        (45.0, 90.0, 0),  # the ring scheme counts from the north pole …
        (315.0, -90.0, PIXELS - 1),  # … to the south pole
    ],
)
def test_pixels_of_known_positions(ra_deg: float, dec_deg: float, pixel: int) -> None:
    assert healpix_pixel(ra_deg, dec_deg) == pixel


@settings(deadline=None, max_examples=50)
@given(st.floats(0.0, 359.9), st.floats(-90.0, 90.0))
def test_every_position_has_a_pixel_and_a_turn_of_the_sky_changes_nothing(
    ra_deg: float, dec_deg: float
) -> None:
    from astropy.units import deg
    from astropy_healpix import HEALPix

    pixel = healpix_pixel(ra_deg, dec_deg)
    assert 0 <= pixel < PIXELS
    # The position is no farther from the pixel's centre than a pixel is wide.
    lon, lat = HEALPix(128, order="ring").healpix_to_lonlat(pixel)
    assert _degrees_apart(ra_deg, dec_deg, lon.to_value(deg), lat.to_value(deg)) < 0.75


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg"),
    [
        (0.0, 90.1),
        (0.0, -91.0),
        (361.0, 0.0),
        (-361.0, 0.0),
        (float("nan"), 0.0),
        (0.0, float("nan")),
        (float("inf"), 0.0),
        (0.0, float("-inf")),
    ],
)
def test_what_is_no_position_has_no_pixel(ra_deg: float, dec_deg: float) -> None:
    with pytest.raises(ValueError, match="no position on the sky"):
        healpix_pixel(ra_deg, dec_deg)


def _degrees_apart(ra_deg: float, dec_deg: float, other_ra_deg: float, other_dec_deg: float) -> float:
    from math import acos, cos, degrees, radians, sin

    dec, other_dec = radians(dec_deg), radians(other_dec_deg)
    cosine = sin(dec) * sin(other_dec) + cos(dec) * cos(other_dec) * cos(radians(ra_deg - other_ra_deg))
    return degrees(acos(max(-1.0, min(1.0, cosine))))
