"""Local conditions that come over MQTT: of a weather station, or of Home Assistant.

The last message of each topic is remembered. What is old, or is of an unknown age, is not passed on: a
message that the broker had kept says nothing of when it was sent, unless the time stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from skyrelay.mqtt import Message
from skyrelay.settings import ConditionsSettings, ConditionValue
from skyrelay_cloud_agent.condition_values import MOST_VALUES, AgeUnknown, is_sendable, observed_at, value_at

# What Home Assistant, and bridges to it, publish in the place of a value when a sensor has none.
_NO_VALUES = frozenset({"", "unknown", "unavailable", "none", "null", "nan"})


@dataclass(frozen=True, slots=True)
class _Heard:
    """The last message of a topic; ``at``: when it came, `None` when that says nothing of its age."""

    payload: bytes
    at: datetime | None


class MqttConditions:
    """What the topics said last.

    Parameters
    ----------
    wanted
        The values, with their topics.
    clock
        Gives the aware time.
    """

    def __init__(self, wanted: ConditionsSettings, clock: Callable[[], datetime]) -> None:
        self._values = {name: value for name, value in wanted.values.items() if value.topic}
        self._max_age, self._clock = timedelta(seconds=wanted.max_age_s), clock
        self._heard: dict[str, _Heard] = {}  # replaced one by one: a reader needs no lock

    def hear(self, message: Message) -> None:
        """Remember a message; called from the connection's thread."""
        self._heard[message.topic] = _Heard(message.payload, None if message.is_retained else self._clock())

    def known(self, now: datetime) -> tuple[dict[str, Any], dict[str, str]]:
        """Give the values that are fresh, and the units of those that have one.

        Parameters
        ----------
        now
            Aware time.
        """
        values: dict[str, Any] = {}
        units: dict[str, str] = {}
        for name, wanted in list(self._values.items())[:MOST_VALUES]:
            heard = self._heard.get(wanted.topic)
            value = None if heard is None else self._value(heard, wanted, now)
            if value is not None:
                values[name] = value
                if wanted.unit:
                    units[name] = wanted.unit
        return values, units

    def _value(self, heard: _Heard, wanted: ConditionValue, now: datetime) -> Any:
        document = _read(heard.payload)
        try:
            at = observed_at(document, wanted.observed_at) if wanted.observed_at else heard.at
        except AgeUnknown:
            return None
        if at is None or now - at > self._max_age:
            return None
        value = _as_value(value_at(document, wanted.path) if wanted.path else document)
        # What has a unit is a number, whatever a sensor says instead of one.
        return None if wanted.unit and isinstance(value, str | bool) else value


def _read(payload: bytes) -> Any:
    """Read JSON; what is none is a text."""
    text = payload.decode("utf-8", "replace").strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _as_value(found: object) -> Any:
    """Give a value that can be sent, numbers in quotes as numbers; `None` for no value."""
    if isinstance(found, str):
        if found.strip().casefold() in _NO_VALUES:
            return None
        with suppress(ValueError):
            found = float(found)
    return found if is_sendable(found) else None
