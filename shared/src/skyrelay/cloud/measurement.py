"""What the cloud takes for a measurement, checked before anything is sent. Pure.

The cloud compares without looking at types first: a text where a number belongs makes it fall over with
status 500, which looks like trouble of its own and would be tried again for ever; a magnitude that is left
out is stored as 0.0. Bounds are its own affair: it refuses them in its own words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from skyrelay.cloud.errors import MeasurementInvalid

_NUMBERS = ("uncertainty", "airmass", "fwhm", "snr", "comparison_stars", "zero_point", "zp_scatter")
_TEXTS = ("filter", "quality_flag", "node_id", "fits_file")


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """What the cloud knows a node's measurement by; ``bjd`` as it is written in its JSON."""

    target: str
    filter: str
    bjd: str


def read_measurement(payload: str) -> MeasurementKey:
    """Check a measurement's JSON text; give its key.

    Parameters
    ----------
    payload
        ``{"measurement": {…}, "conditions": {…}}``, as it is to be sent.

    Raises
    ------
    MeasurementInvalid
        If the cloud would break over it. The message names the field.
    """
    document = _parsed(payload)
    measurement = document.get("measurement")
    if not isinstance(measurement, dict):
        raise MeasurementInvalid("there is no object `measurement` in it")
    if not isinstance(document.get("conditions", {}), dict):
        raise MeasurementInvalid("`conditions` is no object")
    _check(measurement)
    target, filter_ = measurement["target_name"], measurement.get("filter") or ""
    return MeasurementKey(target=target, filter=filter_, bjd=str(measurement["bjd"]))


def _parsed(payload: str) -> Mapping[str, Any]:
    try:
        document = json.loads(payload, parse_float=_Number, parse_int=_Number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MeasurementInvalid(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise MeasurementInvalid("it is no JSON object")
    return document


def _no_number(constant: str) -> NoReturn:
    raise MeasurementInvalid(f"{constant} is no number in JSON: leave the field out, or set it to null")


def _check(measurement: Mapping[str, Any]) -> None:
    target = measurement.get("target_name")
    if not isinstance(target, str) or isinstance(target, _Number) or not target.strip():
        raise MeasurementInvalid("measurement.target_name must be a text")
    for name in ("bjd", "magnitude"):
        if not isinstance(measurement.get(name), _Number):
            raise MeasurementInvalid(f"measurement.{name} must be a number")
    for name in _NUMBERS:
        if not isinstance(measurement.get(name), _Number | None):
            raise MeasurementInvalid(f"measurement.{name} must be a number")
    for name in _TEXTS:
        if isinstance(measurement.get(name, ""), _Number | bool | list | dict):
            raise MeasurementInvalid(f"measurement.{name} must be a text")
