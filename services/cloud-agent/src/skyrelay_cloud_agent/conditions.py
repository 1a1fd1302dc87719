"""Local conditions for the heartbeat: of the telescope's row, and of the owner's source and MQTT topics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from skyrelay.cloud.reading import TooMuch, read_body
from skyrelay.errors import PermanentError, TransientError
from skyrelay.logs import get_logger
from skyrelay.settings import ConditionsSettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Telescope
from skyrelay_cloud_agent.condition_values import MOST_VALUES, AgeUnknown, is_sendable, observed_at, value_at
from skyrelay_cloud_agent.handing_over import choose_telescope
from skyrelay_cloud_agent.mqtt_conditions import MqttConditions

_MOST_BYTES = 256 * 1024
_SOURCE_S = (2.0, 3.0)  # a heartbeat waits for it
_WHOLE_S = 5.0  # for all of it: one that drips a byte now and then must not hold the heartbeat up
_STALE = timedelta(minutes=30)  # of a telescope's row: an idle one is looked at every few minutes

_log = get_logger(__name__)


Part = tuple[dict[str, Any], dict[str, str]]  # values by name, and the units of those that have one


def home_conditions(
    settings: Settings, store: Store, now: datetime, over_mqtt: MqttConditions | None = None
) -> dict[str, Any]:
    """Give what is known: values, and under ``units`` the unit of each that has one.

    Parameters
    ----------
    now
        Aware time; what is older than its age allows is left out.
    over_mqtt
        What the topics said, where there are any.
    """
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    for part, its_units in _parts(settings, store, now, over_mqtt):
        values |= part
        units |= its_units
    return {**values, "units": units} if units else values


def _parts(
    settings: Settings, store: Store, now: datetime, over_mqtt: MqttConditions | None
) -> Iterator[Part]:
    with suppress(PermanentError):  # none, or several and none is named: then there is nothing to say of one
        yield of_telescope(choose_telescope(store, settings), now)
    yield of_source(settings.cloud.conditions, now)
    if over_mqtt is not None:
        yield over_mqtt.known(now)


def of_telescope(row: Telescope, now: datetime) -> Part:
    """Give what a telescope's row says of it, unless that is old."""
    if row.last_seen_at is None or now - row.last_seen_at > _STALE:
        return {}, {}
    values: dict[str, Any] = {
        "telescope_state": str(row.state),
        "telescope_battery": row.battery_percent,
        "telescope_charging": row.charging,
        "telescope_free": row.free_mb,
        "telescope_temperature": row.temperature_c,
    }
    units = {"telescope_battery": "%", "telescope_free": "MB", "telescope_temperature": "°C"}
    known = {name: value for name, value in values.items() if value is not None}
    return known, {name: unit for name, unit in units.items() if name in known}


def of_source(wanted: ConditionsSettings, now: datetime) -> Part:
    """Give what the configured source says; nothing when it is away, no JSON, or stale."""
    if not wanted.source:
        return {}, {}
    try:
        document, read_at = _read(wanted.source)
        at = observed_at(document, wanted.observed_at) if wanted.observed_at else read_at
    except (TransientError, AgeUnknown) as error:
        _log.info("no conditions from their source", problem=str(error))
        return {}, {}
    if at is not None and now - at > timedelta(seconds=wanted.max_age_s):
        _log.info("the conditions are stale", source=wanted.source, of=at.isoformat())
        return {}, {}
    return _picked(document, wanted)


def _picked(document: Any, wanted: ConditionsSettings) -> Part:
    values, units = {}, {}
    of_the_source = [(name, value) for name, value in wanted.values.items() if not value.topic]
    for name, value in of_the_source[:MOST_VALUES]:
        found = value_at(document, value.path)
        if is_sendable(found):
            values[name] = found
            if value.unit:
                units[name] = value.unit
    return values, units


def _read(source: str) -> tuple[Any, datetime | None]:
    """Read a source; give when it was written, too, where that is known."""
    try:
        if source.startswith(("http://", "https://")):
            text, written_at = _fetch(source), None
        else:
            file = Path(source)
            with file.open("rb") as opened:
                text = opened.read(_MOST_BYTES + 1)
            written_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        if len(text) > _MOST_BYTES:
            raise TransientError(f"{source} is longer than {_MOST_BYTES // 1024} KiB")
        return json.loads(text), written_at
    except (OSError, ValueError, RecursionError) as error:  # OSError: those of requests as well
        raise TransientError(f"{source} cannot be read ({type(error).__name__})") from error


def _fetch(url: str) -> bytes:
    with requests.get(url, timeout=_SOURCE_S, stream=True) as response:
        response.raise_for_status()
        try:
            return read_body(response, most_bytes=_MOST_BYTES, within_s=_WHOLE_S)
        except TooMuch as error:
            raise TransientError(f"{url} is too long, or too slow") from error
