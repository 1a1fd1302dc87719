"""The whole sky on a flat map: Mollweide's projection, right ascension growing to the left.

The map is an ellipse twice as wide as high, with its centre at (0, 0), reaching from -2 to 2 and from -1 to
1; y grows downwards, as in SVG. Source: Snyder 1987, "Map projections: a working manual", p. 249.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import asin, atan2, cos, degrees, pi, radians, sin

_GALACTIC_POLE = (
    radians(192.85948),
    radians(27.12825),
)  # ICRS, with the next: Hipparcos catalogue, vol. 1, 1.5.3
_ASCENDING_NODE = radians(32.93192)
_CLOSE_ENOUGH = 1e-9


def project(ra_offset_deg: float, dec_deg: float) -> tuple[float, float]:
    """Give where a position lies on the map.

    Parameters
    ----------
    ra_offset_deg
        Right ascension less that of the map's centre, from -180 to 180; beyond it the position lies outside
        the ellipse, next to where it comes in again.
    dec_deg
        Declination.
    """
    theta = _theta(round(radians(dec_deg), 6))
    return -2 * ra_offset_deg / 180 * cos(theta), -sin(theta)


@lru_cache(maxsize=1024)  # the corners of cells lie on few parallels
def _theta(dec: float) -> float:
    """Solve 2θ + sin 2θ = π sin δ by Newton's method."""
    if abs(dec) > pi / 2 - 1e-6:
        return pi / 2 if dec > 0 else -pi / 2
    theta = dec
    for _ in range(50):
        step = (2 * theta + sin(2 * theta) - pi * sin(dec)) / (2 + 2 * cos(2 * theta))
        theta -= step
        if abs(step) < _CLOSE_ENOUGH:
            break
    return theta


def outline(corners: Sequence[tuple[float, float]]) -> list[str]:
    """Give the SVG points of an area whose RA has no jumps: twice for one that crosses the map's edge."""
    centre = sum(ra for ra, _dec in corners) / len(corners)
    home = (centre + 180.0) % 360.0 - 180.0 - centre
    moved = [(ra + home, dec) for ra, dec in corners]
    turns = [0.0]
    if any(ra > 180 for ra, _dec in moved):
        turns.append(-360.0)
    if any(ra < -180 for ra, _dec in moved):
        turns.append(360.0)
    return [points(project(ra + turn, dec) for ra, dec in moved) for turn in turns]


def points(places: Iterable[tuple[float, float]]) -> str:
    """Write places as SVG points, in thousandths."""
    return " ".join(f"{round(1000 * x)},{round(1000 * y)}" for x, y in places)


def meridian(ra_offset_deg: float) -> str:
    """Give the SVG points of a line of equal right ascension."""
    return points(project(ra_offset_deg, dec) for dec in range(-90, 91, 6))


def milky_way() -> list[str]:
    """Give the SVG points of the galactic equator, cut where it leaves the map."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for longitude in range(0, 361, 3):
        ra, dec = _of_galactic_equator(radians(longitude))
        place = ((ra + 180.0) % 360.0 - 180.0, dec)
        if pieces[-1] and abs(place[0] - pieces[-1][-1][0]) > 180:
            pieces.append([])
        pieces[-1].append(place)
    if len(pieces) > 1:
        pieces[0] = pieces.pop() + pieces[0]  # they meet where the longitudes begin and end
    return [points(project(ra, dec) for ra, dec in piece) for piece in pieces if len(piece) > 1]


def _of_galactic_equator(longitude: float) -> tuple[float, float]:
    pole_ra, pole_dec = _GALACTIC_POLE
    along = longitude - _ASCENDING_NODE
    dec = asin(cos(pole_dec) * sin(along))
    ra = pole_ra + atan2(cos(along), -sin(pole_dec) * sin(along))
    return degrees(ra) % 360.0, degrees(dec)
