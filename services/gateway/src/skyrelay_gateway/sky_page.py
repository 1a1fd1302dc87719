"""What the page of the sky shows beside the cells: the grid, its labels, the Milky Way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skyrelay_gateway.mollweide import meridian, milky_way, project
from skyrelay_gateway.sky_map import SkyMap, sexagesimal

_HOURS = (9, 6, 3, 0, 21, 18, 15)  # from left to right, at the equator
_DECLINATIONS = (-60, -30, 30, 60)


@dataclass(frozen=True, slots=True)
class Label:
    """A word on the map, in thousandths."""

    x: int
    y: int
    text: str
    anchor: str = "middle"
    dy: str = "1.1em"


def values(sky: SkyMap) -> dict[str, Any]:
    """Give what the template takes."""
    return {
        "sky": sky,
        "meridians": [meridian(ra) for ra in range(-150, 180, 30)],
        "parallels": [Label(0, round(1000 * project(0, dec)[1]), "") for dec in range(-60, 90, 30)],
        "milky_way": milky_way(),
        "labels": [*_hours(), *_declinations()],
        "sexagesimal": sexagesimal,
    }


def _hours() -> list[Label]:
    offsets = [(hour, hour * 15 if hour <= 12 else hour * 15 - 360) for hour in _HOURS]
    return [Label(round(1000 * project(ra, 0)[0]), 0, f"{hour}h") for hour, ra in offsets]


def _declinations() -> list[Label]:
    places = [(dec, project(180, dec)) for dec in _DECLINATIONS]
    return [
        Label(round(1000 * x) - 20, round(1000 * y), f"{'−' if dec < 0 else '+'}{abs(dec)}°", "end", ".35em")
        for dec, (x, y) in places
    ]
