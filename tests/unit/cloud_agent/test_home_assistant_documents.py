"""What Home Assistant is told: every entity reads what its state says, with the right unit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from skyrelay.domain.states import TelescopeState
from skyrelay.settings import HomeAssistantSettings
from skyrelay.store.receipts import ReceiptTotals
from skyrelay_cloud_agent.home_assistant.documents import (
    PauseCommand,
    Topics,
    read_command,
    retained_documents,
)
from skyrelay_cloud_agent.home_assistant.home_state import HomeState, ReceiptFacts, TelescopeFacts

TOPICS = Topics.of(HomeAssistantSettings())
GARDEN = TelescopeFacts(
    id=1,
    key="ab12",
    name="garden",
    serial="ab12",
    model="Seestar S50",
    firmware="8.89",
    state=TelescopeState.STACKING,
    doing="Stacking M 81",
    battery_percent=83,
    charging=False,
    temperature_c=21.5,
    free_mb=41200,
    is_paused=True,
)
RECEIPT = ReceiptFacts(date(2025, 3, 26), True, ReceiptTotals(frames=120, exposure_total_s=1200, delivered=4))
HOME = HomeState((GARDEN,), 3, 5, 1, 2, 9, 4, False, RECEIPT)
_TOJSON = Environment(autoescape=False)  # noqa: S701 - Home Assistant's templates make no HTML


def told(home: HomeState) -> dict[str, Any]:
    return {topic: json.loads(said) for topic, said in retained_documents(TOPICS, home).items()}


def shown(home: HomeState) -> dict[str, str]:
    """Give what each entity would show, by the way Home Assistant computes it."""
    documents = told(home)
    entities = {one["unique_id"]: one for topic, one in documents.items() if topic.endswith("/config")}
    return {
        name: _TOJSON.from_string(one["value_template"]).render(value_json=documents[one["state_topic"]])
        for name, one in entities.items()
    }


def test_every_entity_shows_what_is_the_case() -> None:
    assert shown(HOME) == {
        "skyrelay_blocks_waiting": "3",
        "skyrelay_blocks_stacked": "5",
        "skyrelay_blocks_failed": "1",
        "skyrelay_deliveries_pending": "2",
        "skyrelay_deliveries_delivered": "9",
        "skyrelay_deliveries_dead": "4",
        "skyrelay_receipt": "2025-03-26",
        "skyrelay_paused": "OFF",
        "skyrelay_ab12_state": "stacking",
        "skyrelay_ab12_doing": "Stacking M 81",
        "skyrelay_ab12_battery": "83",
        "skyrelay_ab12_charging": "OFF",
        "skyrelay_ab12_temperature": "21.5",
        "skyrelay_ab12_free_space": "41200",
        "skyrelay_ab12_paused": "ON",
    }


def test_what_is_not_known_is_none_which_home_assistant_shows_as_unknown() -> None:
    away = replace(GARDEN, battery_percent=None, charging=None, temperature_c=None, free_mb=None)
    values = shown(replace(HOME, telescopes=(away,), receipt=None))
    unknown = {name for name, value in values.items() if value == "None"}
    told_nothing_of = {"battery", "charging", "temperature", "free_space"}
    assert unknown == {*(f"skyrelay_ab12_{name}" for name in told_nothing_of), "skyrelay_receipt"}


def test_the_figures_of_the_receipt_are_attributes() -> None:
    documents = told(HOME)
    receipt = documents["homeassistant/sensor/skyrelay/skyrelay_receipt/config"]
    template = _TOJSON.from_string(receipt["json_attributes_template"])
    attributes = json.loads(template.render(value_json=documents[receipt["json_attributes_topic"]]))
    assert (attributes["frames"], attributes["delivered"], attributes["complete"]) == (120, 4, True)
    assert attributes["exposure_hours"] == 0.33


@pytest.mark.parametrize(
    ("entity", "device_class", "unit", "state_class"),
    [
        ("battery", "battery", "%", "measurement"),
        ("temperature", "temperature", "°C", "measurement"),
        ("free_space", "data_size", "MB", "measurement"),
        ("state", "enum", None, None),
    ],
)
def test_units_and_classes_go_together(
    entity: str, device_class: str, unit: str | None, state_class: str | None
) -> None:
    document = told(HOME)[f"homeassistant/sensor/skyrelay/skyrelay_ab12_{entity}/config"]
    found = tuple(document.get(key) for key in ("device_class", "unit_of_measurement", "state_class"))
    assert found == (device_class, unit, state_class)


def test_any_state_of_a_telescope_is_among_those_that_were_announced() -> None:
    document = told(HOME)["homeassistant/sensor/skyrelay/skyrelay_ab12_state/config"]
    assert document["options"] == [state.value for state in TelescopeState]


def test_there_is_one_device_a_telescope_and_one_for_the_node() -> None:
    documents = [one for topic, one in told(HOME).items() if topic.endswith("/config")]
    devices = {one["device"]["identifiers"][0]: one["device"] for one in documents}
    assert {name: one["name"] for name, one in devices.items()} == {
        "skyrelay": "Skyrelay",
        "skyrelay_ab12": "garden",
    }
    assert devices["skyrelay_ab12"]["via_device"] == "skyrelay"
    assert {one["availability_topic"] for one in documents} == {"skyrelay/status"}
    assert len({one["unique_id"] for one in documents}) == len(documents)


def test_a_switch_commands_what_it_shows() -> None:
    switches = [one for topic, one in told(HOME).items() if topic.startswith("homeassistant/switch/")]
    commands = [read_command(TOPICS, one["command_topic"], b"ON") for one in switches]
    assert commands == [PauseCommand(None, True), PauseCommand("ab12", True)]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("skyrelay/node/pause/set", b"on"),
        ("skyrelay/node/pause/set", b""),
        ("skyrelay/node", b"ON"),
        ("skyrelay/telescope//pause/set", b"ON"),
        ("skyrelay/telescope/a/b/pause/set", b"ON"),
        ("other/node/pause/set", b"ON"),
    ],
)
def test_anything_else_is_no_command(topic: str, payload: bytes) -> None:
    assert read_command(TOPICS, topic, payload) is None


@given(st.text(), st.binary())
def test_no_message_raises(topic: str, payload: bytes) -> None:
    assert read_command(TOPICS, topic, payload) in {
        None,
        PauseCommand(None, True),
        PauseCommand(None, False),
    }
