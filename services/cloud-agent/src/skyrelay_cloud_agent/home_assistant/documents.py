"""The documents of Home Assistant's MQTT discovery, and the states that its entities read. Pure.

Source: Home Assistant's documentation of MQTT discovery, sensors, binary sensors and switches. One document
an entity, ``PREFIX/COMPONENT/TOPIC/OBJECT/config``: that form is understood by every release, whereas one
document a device needs 2024.11.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skyrelay.domain.states import TelescopeState
from skyrelay.settings import HomeAssistantSettings
from skyrelay.version import __version__
from skyrelay_cloud_agent.home_assistant.home_state import HomeState, ReceiptFacts, TelescopeFacts

ONLINE, OFFLINE = b"online", b"offline"  # Home Assistant's defaults for availability
ON, OFF = "ON", "OFF"
_DIAGNOSTIC = {"entity_category": "diagnostic"}
_MEASURED = {"state_class": "measurement"}


@dataclass(frozen=True, slots=True)
class Topics:
    """Where we speak and listen."""

    prefix: str
    base: str

    @classmethod
    def of(cls, settings: HomeAssistantSettings) -> Topics:
        """Give those of the settings."""
        return cls(settings.discovery_prefix, settings.topic)

    @property
    def availability(self) -> str:
        """Says whether we are there; the broker's last word for us."""
        return f"{self.base}/status"

    @property
    def birth(self) -> str:
        """Says that Home Assistant has begun, and wants everything again."""
        return f"{self.prefix}/status"

    @property
    def node(self) -> str:
        """State of the node."""
        return f"{self.base}/node"

    def telescope(self, key: str) -> str:
        """State of a telescope; ``+``: of any."""
        return f"{self.base}/telescope/{key}"

    def config(self, component: str, object_id: str) -> str:
        """Where an entity's document lies; ``+`` stands for any."""
        return f"{self.prefix}/{component}/{self.base}/{object_id}/config"

    @property
    def own(self) -> tuple[str, str]:
        """All that we leave with the broker, documents and states of telescopes, with wildcards."""
        return self.config("+", "+"), self.telescope("+")

    @property
    def commands(self) -> tuple[str, str]:
        """Where switches speak to us."""
        return f"{self.node}/pause/set", f"{self.telescope('+')}/pause/set"


@dataclass(frozen=True, slots=True)
class PauseCommand:
    """Somebody flipped a switch: of a telescope, by its key, or of the whole home."""

    telescope: str | None
    is_on: bool


def read_command(topics: Topics, topic: str, payload: bytes) -> PauseCommand | None:
    """Understand what a switch said; `None` for anything else."""
    words = {ON.encode(): True, OFF.encode(): False}
    place = topic.removesuffix("/pause/set")
    if payload not in words or place == topic:
        return None
    if place == topics.node:
        return PauseCommand(None, words[payload])
    key = place.removeprefix(topics.telescope(""))
    return PauseCommand(key, words[payload]) if key != place and key and "/" not in key else None


def retained_documents(topics: Topics, home: HomeState) -> Mapping[str, bytes]:
    """Give all that the broker is to keep for us, by topic: first what there is, then how it is."""
    documents = dict(_configs(topics, home))
    states: dict[str, Any] = {topics.node: _node_state(home)}
    states |= {topics.telescope(one.key): _telescope_state(one) for one in home.telescopes}
    return {topic: _json(content) for topic, content in (documents | states).items()}


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _node_state(home: HomeState) -> dict[str, Any]:
    return {
        "blocks_waiting": home.blocks_waiting,
        "blocks_stacked": home.blocks_stacked,
        "blocks_failed": home.blocks_failed,
        "deliveries_pending": home.deliveries_pending,
        "deliveries_delivered": home.deliveries_delivered,
        "deliveries_dead": home.deliveries_dead,
        "paused": ON if home.is_paused else OFF,
        "receipt": _receipt_state(home.receipt) if home.receipt else {"night": None},
    }


def _receipt_state(receipt: ReceiptFacts) -> dict[str, Any]:
    totals = receipt.totals
    return {
        "night": receipt.night.isoformat(),
        "complete": receipt.complete,
        "frames": totals.frames,
        "exposure_hours": round(totals.exposure_total_s / 3600, 2),
        "blocks_stacked": totals.blocks_stacked,
        "blocks_skipped": totals.blocks_skipped,
        "blocks_failed": totals.blocks_failed,
        "delivered": totals.delivered,
        "frames_held": totals.frames_held,
        "frames_missing": totals.frames_missing,
    }


def _telescope_state(one: TelescopeFacts) -> dict[str, Any]:
    charging = None if one.charging is None else ON if one.charging else OFF
    return {
        "state": one.state.value,
        "doing": one.doing[:255],  # the longest state that Home Assistant takes
        "battery": one.battery_percent,
        "charging": charging,
        "temperature": one.temperature_c,
        "free_space": one.free_mb,
        "paused": ON if one.is_paused else OFF,
    }


def _configs(topics: Topics, home: HomeState) -> Iterator[tuple[str, dict[str, Any]]]:
    node = {"identifiers": [topics.base], "name": "Skyrelay", "manufacturer": "Skyrelay", "model": "Node"}
    yield from _entities(topics, {**node, "sw_version": __version__}, topics.node, topics.base, _NODE)
    for one in home.telescopes:
        unique = f"{topics.base}_{one.key}"
        yield from _entities(
            topics, _telescope_device(topics, one, unique), topics.telescope(one.key), unique, _TELESCOPE
        )


def _telescope_device(topics: Topics, one: TelescopeFacts, unique: str) -> dict[str, Any]:
    told = {"model": one.model, "sw_version": one.firmware, "serial_number": one.serial}
    known = {name: value for name, value in told.items() if value}
    return {
        "identifiers": [unique],
        "name": one.name,
        "manufacturer": "ZWO",
        **known,
        "via_device": topics.base,
    }


def _entities(
    topics: Topics,
    device: Mapping[str, Any],
    state_topic: str,
    unique: str,
    entities: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, (component, traits) in entities.items():
        described = {
            "unique_id": f"{unique}_{name}",
            "state_topic": state_topic,
            "value_template": f"{{{{ value_json.{name} }}}}",
            "availability_topic": topics.availability,
            "device": dict(device),
            "origin": {"name": "Skyrelay", "sw_version": __version__},
            **traits,
        }
        if component == "switch":
            described["command_topic"] = f"{state_topic}/pause/set"
        if name == "receipt":
            described["json_attributes_topic"] = state_topic
        yield topics.config(component, f"{unique}_{name}"), described


def _counted(name: str, unit: str, icon: str, state_class: str) -> tuple[str, Mapping[str, Any]]:
    traits = {"name": name, "unit_of_measurement": unit, "icon": f"mdi:{icon}", "state_class": state_class}
    return "sensor", traits


# By their names in the states, which the templates read: the component, and what it is told.
_PAUSE = ("switch", {"name": "Pause stacking", "icon": "mdi:pause-circle-outline"})
_NODE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "blocks_waiting": _counted("Blocks waiting", "blocks", "timer-sand", "measurement"),
    # Totals, which fall when blocks are stacked again: not "increasing".
    "blocks_stacked": _counted("Blocks stacked", "blocks", "layers", "total"),
    "blocks_failed": _counted("Blocks failed", "blocks", "alert-circle-outline", "measurement"),
    "deliveries_pending": _counted("Deliveries pending", "deliveries", "tray-arrow-up", "measurement"),
    "deliveries_delivered": _counted("Deliveries delivered", "deliveries", "check-all", "total"),
    "deliveries_dead": _counted("Deliveries given up", "deliveries", "alert-octagon-outline", "measurement"),
    "receipt": (
        "sensor",
        {
            "name": "Last receipt",
            "device_class": "date",
            "icon": "mdi:receipt-text-check-outline",
            "value_template": "{{ value_json.receipt.night }}",
            "json_attributes_template": "{{ value_json.receipt | tojson }}",
        },
    ),
    "paused": _PAUSE,
}
_TELESCOPE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "state": (
        "sensor",
        {
            "name": "State",
            "device_class": "enum",
            "options": [state.value for state in TelescopeState],
            "icon": "mdi:telescope",
        },
    ),
    "doing": ("sensor", {"name": "Doing", "icon": "mdi:text-short"}),
    "battery": (
        "sensor",
        {
            "name": "Battery",
            "device_class": "battery",
            "unit_of_measurement": "%",
            **_MEASURED,
            **_DIAGNOSTIC,
        },
    ),
    "charging": (
        "binary_sensor",
        {"name": "Charging", "device_class": "battery_charging", **_DIAGNOSTIC},
    ),
    "temperature": (
        "sensor",
        {
            "name": "Temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            **_MEASURED,
            **_DIAGNOSTIC,
        },
    ),
    "free_space": (
        "sensor",
        {
            "name": "Free space",
            "device_class": "data_size",
            "unit_of_measurement": "MB",
            "suggested_display_precision": 0,
            **_MEASURED,
            **_DIAGNOSTIC,
        },
    ),
    "paused": _PAUSE,
}
