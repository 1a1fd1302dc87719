"""Cells of HEALPix are those of the library that CrowdSky itself uses."""

from __future__ import annotations

from math import cos, hypot, radians

import pytest
from astropy import units
from astropy_healpix import HEALPix
from hypothesis import given
from hypothesis import strategies as st

from skyrelay_gateway.healpix_cells import Cell, cell_of, corners_of

NSIDE = 16
LIBRARY = HEALPix(nside=NSIDE, order="nested")
RIGHT_ASCENSIONS = st.floats(0, 359.999)
DECLINATIONS = st.floats(-90, 90)


def cell_of_number(number: int) -> Cell:
    """Give the cell of a nested pixel: the bits of x and y take turns in it."""
    face, place = divmod(number, NSIDE * NSIDE)
    bits = [place >> bit & 1 for bit in range(8)]
    return face, *(sum(bit << at for at, bit in enumerate(bits[first::2])) for first in (0, 1))  # type: ignore[return-value] # two of them


@given(RIGHT_ASCENSIONS, DECLINATIONS)
def test_a_position_lies_in_the_librarys_cell_or_on_its_edge(ra_deg: float, dec_deg: float) -> None:
    ours = cell_of(ra_deg, dec_deg, NSIDE)
    number = int(LIBRARY.lonlat_to_healpix(ra_deg * units.deg, dec_deg * units.deg))
    if ours != cell_of_number(number):
        near = LIBRARY.cone_search_lonlat(ra_deg * units.deg, dec_deg * units.deg, radius=1e-6 * units.deg)
        assert ours in [cell_of_number(int(each)) for each in near]


@pytest.mark.parametrize("number", range(0, 12 * NSIDE * NSIDE, 37))
def test_the_corners_are_the_librarys(number: int) -> None:
    ra, dec = LIBRARY.boundaries_lonlat([number], step=1)
    theirs = list(zip(ra[0].to_value(units.deg), dec[0].to_value(units.deg), strict=True))
    for ours in corners_of(cell_of_number(number), NSIDE, steps=1):
        assert min(distance_deg(ours, each) for each in theirs) < 1e-6


def distance_deg(one: tuple[float, float], other: tuple[float, float]) -> float:
    turn = (one[0] - other[0] + 180) % 360 - 180
    return hypot(turn * cos(radians(one[1])), one[1] - other[1])


@given(RIGHT_ASCENSIONS, DECLINATIONS)
def test_an_outline_goes_round_without_jumps(ra_deg: float, dec_deg: float) -> None:
    outline = corners_of(cell_of(ra_deg, dec_deg, NSIDE), NSIDE)
    turns = [ra for ra, _dec in outline]
    assert max(turns) - min(turns) <= 180
