"""What the server takes for a node's place and for a measurement, and what it makes of the rest.

It compares without looking at types first: a text where a number belongs makes it fall over (500), a
NaN is within no bounds (400), and what is left out has a default, a magnitude of 0.0 among them.
"""

from __future__ import annotations

import re
from typing import Any

from skyrelay_simulators.cloud.answers import Broken, Refused

_BJD_DAYS = (2_400_000.0, 2_500_000.0)
_MAGNITUDE = (-5.0, 30.0)
_MOST_UNCERTAINTY = 5.0
_QUALITY_FLAGS = ("good", "acceptable", "poor")
_DEFAULTS: dict[str, Any] = {
    "target_name": "",
    "bjd": 0.0,
    "magnitude": 0.0,
    "uncertainty": 0.0,
    "filter": "CV",
    "airmass": None,
    "fwhm": None,
    "snr": None,
    "comparison_stars": 0,
    "quality_flag": "poor",
    "zero_point": None,
    "zp_scatter": None,
    "fits_file": "",
}
_NUMBER_COLUMNS = ("airmass", "fwhm", "snr", "comparison_stars", "zero_point", "zp_scatter")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


def check_place(card: dict[str, Any]) -> None:
    """Check where a node says that it stands (degrees, north and east positive).

    Raises
    ------
    Refused
        If that is missing, nowhere on Earth, or 0, 0.
    Broken
        If it is no number.
    """
    latitude, longitude = _number(card, "latitude"), _number(card, "longitude")
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
        raise Refused(400, error="latitude/longitude missing or out of range")
    if latitude == 0.0 and longitude == 0.0:
        raise Refused(400, error="latitude/longitude not set")


def taken_measurement(given: dict[str, Any], node_id: str) -> dict[str, Any]:
    """Give a measurement as the server stores it: known fields only, defaults for the missing ones.

    Raises
    ------
    Refused
        If it is out of bounds, or has a value that the server's table cannot hold.
    Broken
        If a text stands where the server compares numbers.
    """
    taken = {name: given.get(name, default) for name, default in _DEFAULTS.items()}
    if not _is_within_bounds(taken):
        raise Refused(400, ok=False, error="measurement failed validation bounds")
    texts = [taken["filter"], taken["fits_file"], taken["target_name"]]
    numbers = [taken[name] for name in _NUMBER_COLUMNS]
    if any(isinstance(text, (dict, list)) for text in texts) or any(
        isinstance(n, (str, dict, list)) for n in numbers
    ):
        raise Refused(400, ok=False, error="storage error")
    return taken | {"node_id": node_id}


def safe_name(given: str, otherwise: str) -> str:
    """Give the name that the server files something under."""
    bare = given.replace("\\", "/").rpartition("/")[2]
    return _NOT_IN_A_NAME.sub("_", bare) or otherwise


def _is_within_bounds(measurement: dict[str, Any]) -> bool:
    bjd, magnitude = _number(measurement, "bjd"), _number(measurement, "magnitude")
    uncertainty = _number(measurement, "uncertainty")
    return (
        bool(measurement["target_name"])
        and _BJD_DAYS[0] < bjd < _BJD_DAYS[1]
        and _MAGNITUDE[0] < magnitude < _MAGNITUDE[1]
        and 0.0 <= uncertainty < _MOST_UNCERTAINTY
        and measurement["quality_flag"] in _QUALITY_FLAGS
    )


def _number(values: dict[str, Any], name: str) -> float:
    value = values.get(name, 0.0)
    if not isinstance(value, (int, float)):
        raise Broken(f"{name} is {type(value).__name__}")
    return value
