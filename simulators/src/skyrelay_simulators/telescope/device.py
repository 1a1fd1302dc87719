"""The insides of one telescope, which all its servers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skyrelay_simulators.telescope.batch_stack import BatchStack
from skyrelay_simulators.telescope.clock import Clock, WallClock
from skyrelay_simulators.telescope.emmc import Emmc
from skyrelay_simulators.telescope.events import Events
from skyrelay_simulators.telescope.firmware import Firmware
from skyrelay_simulators.telescope.journal import Journal
from skyrelay_simulators.telescope.observation import Observation
from skyrelay_simulators.telescope.spec import TelescopeSpec


@dataclass(slots=True)
class Power:
    """The battery; ``percent`` `None` leaves it out of the status."""

    percent: int | None
    charging: bool

    def to_json(self) -> dict[str, Any]:
        """Give ``pi_status`` as the firmware names it (seestarpy, firmware 4.27)."""
        status: dict[str, Any] = {
            "temp": 41.5,
            "charger_status": "Charging" if self.charging else "Discharging",
            "charge_online": self.charging,
            "is_overtemp": False,
            "battery_temp": 23,
        }
        return status if self.percent is None else status | {"battery_capacity": self.percent}


@dataclass(slots=True)
class ListingCursor:
    """The ONE directory cursor of a telescope, shared by all clients (live)."""

    entries: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Device:
    """One telescope's parts.

    Attributes
    ----------
    cursor
        Belongs to the telescope, not to a connection: two listings at once get each other's files.
    clients
        How many connections are open on the command port.
    """

    spec: TelescopeSpec
    firmware: Firmware
    clock: Clock
    wall_clock: WallClock
    journal: Journal
    emmc: Emmc
    events: Events
    observation: Observation
    batch_stack: BatchStack
    power: Power
    cursor: ListingCursor
    clients: int = 0


def build_device(
    spec: TelescopeSpec, *, clock: Clock, wall_clock: WallClock, journal: Journal, events: Events
) -> Device:
    """Put a telescope together (nothing runs yet)."""
    emmc = Emmc(spec.root, wall_clock.to_local)
    batch_stack = BatchStack(
        emmc=emmc,
        clock=clock,
        wall_clock=wall_clock,
        publish=events.publish,
        wants_full_names=spec.firmware.wants_full_names,
        stack_seconds=spec.stack_seconds,
        rejects=spec.stack_rejects,
    )
    return Device(
        spec=spec,
        firmware=spec.firmware,
        clock=clock,
        wall_clock=wall_clock,
        journal=journal,
        emmc=emmc,
        events=events,
        observation=Observation(events.publish),
        batch_stack=batch_stack,
        power=Power(spec.battery_percent, spec.charging),
        cursor=ListingCursor(),
    )
