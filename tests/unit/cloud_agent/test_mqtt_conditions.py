"""Conditions over MQTT: fresh values with their units; nothing that is old, of unknown age, or no value."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.mqtt import Message
from skyrelay.settings import ConditionsSettings
from skyrelay_cloud_agent.mqtt_conditions import MqttConditions

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
PLAIN, OBJECT, TIMED = "roof/sky", "station/now", "station/timed"
WANTED = ConditionsSettings.model_validate(
    {
        "max_age_s": 600,
        "values": {
            "sky_temperature": {"topic": PLAIN, "unit": "°C"},
            "wind_speed": {"topic": OBJECT, "path": "wind.0.speed", "unit": "m/s"},
            "humidity": {"topic": OBJECT, "path": "humidity", "unit": "%"},
            "weather": {"topic": OBJECT, "path": "says"},
            "pressure": {"topic": TIMED, "path": "hPa", "unit": "hPa", "observed_at": "at"},
            "of_the_source": {"path": "a.b"},
        },
    }
)


def known(*messages: Message, after: timedelta = timedelta(0)) -> tuple[dict[str, Any], dict[str, str]]:
    """Have messages come now; give what is known of them some time later."""
    conditions = MqttConditions(WANTED, lambda: NOW)
    for message in messages:
        conditions.hear(message)
    return conditions.known(NOW + after)


def sky(payload: str, *, retained: bool = False) -> Message:
    return Message(PLAIN, payload.encode(), retained)


def test_before_the_first_message_nothing_is_known() -> None:
    assert known() == ({}, {})


def test_a_plain_number_and_values_inside_json_come_with_their_units() -> None:
    station = {"wind": [{"speed": 2}], "humidity": "55", "says": "clear"}
    values, units = known(sky("-18.5"), Message(OBJECT, json.dumps(station).encode()))
    assert values == {"sky_temperature": -18.5, "wind_speed": 2, "humidity": 55.0, "weather": "clear"}
    assert units == {"sky_temperature": "°C", "wind_speed": "m/s", "humidity": "%"}


def test_the_last_message_of_a_topic_counts() -> None:
    assert known(sky("1"), sky("2"))[0] == {"sky_temperature": 2}


def test_what_is_older_than_max_age_is_left_out() -> None:
    assert known(sky("1"), after=timedelta(seconds=600))[0] == {"sky_temperature": 1}
    assert known(sky("1"), after=timedelta(seconds=601)) == ({}, {})


def test_what_the_broker_had_kept_is_of_unknown_age_unless_a_time_stands_in_it() -> None:
    assert known(sky("1", retained=True)) == ({}, {})
    fresh = {"hPa": 1013, "at": (NOW - timedelta(minutes=9)).isoformat()}
    stale = {"hPa": 1013, "at": (NOW - timedelta(minutes=11)).timestamp()}
    assert known(Message(TIMED, json.dumps(fresh).encode(), True))[0] == {"pressure": 1013}
    assert known(Message(TIMED, json.dumps(stale).encode())) == ({}, {})
    assert known(Message(TIMED, b'{"hPa": 1013}')) == ({}, {})


@pytest.mark.parametrize("payload", ["", " ", "unavailable", "Unknown", "None", "null", "nan", "NaN", "inf"])
def test_what_says_that_there_is_no_value_takes_the_last_one_away(payload: str) -> None:
    assert known(sky("1"), sky(payload)) == ({}, {})


@pytest.mark.parametrize("payload", ["cold", "true", "ON", "[1]", "{}", "1e999", "9" * 5000, "\x00", "1 °C"])
def test_what_has_a_unit_must_be_a_number(payload: str) -> None:
    assert known(sky(payload)) == ({}, {})


@given(st.binary(max_size=300))
def test_no_payload_does_harm(payload: bytes) -> None:
    values, _ = known(*(Message(topic, payload) for topic in (PLAIN, OBJECT, TIMED)))
    json.dumps(values, allow_nan=False)
