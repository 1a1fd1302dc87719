"""The map of the sky: where positions lie on it, how they are written, how exposures are shaded."""

from __future__ import annotations

from math import hypot

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay_gateway.mollweide import meridian, milky_way, outline, project
from skyrelay_gateway.sky_map import SHADES, sexagesimal, shade_of


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "place"),
    [
        (0, 0, (0, 0)),
        (180, 0, (-2, 0)),
        (-180, 0, (2, 0)),
        (0, 90, (0, -1)),
        (123, -90, (0, 1)),
        (-90, 0, (1, 0)),
        (0, 45, (0, -0.59204)),  # Snyder 1987, table 39
    ],
)
def test_known_places_lie_where_the_projection_has_them(
    ra_deg: float, dec_deg: float, place: tuple[float, float]
) -> None:
    assert project(ra_deg, dec_deg) == pytest.approx(place, abs=1e-4)


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_the_whole_sky_lies_inside_the_ellipse(ra_deg: float, dec_deg: float) -> None:
    x, y = project(ra_deg, dec_deg)
    assert hypot(x / 2, y) <= 1 + 1e-9


def test_an_area_on_the_edge_is_drawn_on_both_sides() -> None:
    square = [(179.0, 10.0), (181.0, 10.0), (181.0, 12.0), (179.0, 12.0)]
    left, right = sorted([float(pair.split(",")[0]) for pair in each.split()] for each in outline(square))
    assert min(left) < -1900
    assert max(right) > 1900
    assert len(outline([(ra - 90, dec) for ra, dec in square])) == 1


def test_the_milky_way_passes_its_well_known_places() -> None:
    pairs = [tuple(map(int, pair.split(","))) for line in milky_way() for pair in line.split()]
    for ra_deg, dec_deg in (
        (-93.6, -28.9),
        (-49.9, 40.0),
        (86.4, 28.9),
    ):  # its centre, Cygnus, opposite to it
        x, y = (1000 * each for each in project(ra_deg, dec_deg))
        assert min(hypot(x - left, y - top) for left, top in pairs) < 80


def test_a_meridian_reaches_from_pole_to_pole() -> None:
    places = meridian(60).split()
    assert (places[0], places[-1]) == ("0,1000", "0,-1000")


@pytest.mark.parametrize(
    ("position", "text"),
    [
        ((148.888, 69.065), "09h 55.6m +69° 04′"),
        ((83.82, -5.39), "05h 35.3m −05° 23′"),
        ((359.9999, 0.0), "00h 00.0m +00° 00′"),
        ((-10.0, -0.2), "23h 20.0m −00° 12′"),
    ],
)
def test_positions_are_written_as_astronomers_do(position: tuple[float, float], text: str) -> None:
    assert sexagesimal(*position) == text


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_exposure_is_never_darker(one_s: float, other_s: float) -> None:
    less, more = sorted((one_s, other_s))
    assert 1 <= shade_of(less, 1e6) <= shade_of(more, 1e6) <= SHADES
    assert shade_of(1e6, 1e6) == SHADES
