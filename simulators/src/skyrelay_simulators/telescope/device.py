"""The insides of one telescope, which all its servers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from skyrelay_simulators.telescope.batch_stack import BatchStack
from skyrelay_simulators.telescope.clock import Clock, WallClock
from skyrelay_simulators.telescope.emmc import Emmc, Volume
from skyrelay_simulators.telescope.events import Events
from skyrelay_simulators.telescope.faults import (
    FaultBoard,
    Full,
    HideFolders,
    IdleClose,
    Latency,
    OtherFirmware,
    RefuseKey,
    UseFewer,
    read_fault,
)
from skyrelay_simulators.telescope.firmware import Firmware
from skyrelay_simulators.telescope.journal import Journal
from skyrelay_simulators.telescope.observation import Observation
from skyrelay_simulators.telescope.spec import TelescopeSpec

_ROOM_FOR_STACK_MB = 100  # guessed: below this a stack is not saved


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
    path: str = ""


@dataclass(slots=True)
class Device:
    """One telescope's parts.

    Attributes
    ----------
    cursor
        Belongs to the telescope, not to a connection: two listings at once get each other's files.
    clients
        How many connections are open on the command port.
    reboot
        Reboots the telescope; it is back after so many seconds.
    """

    spec: TelescopeSpec
    faults: FaultBoard
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
    reboot: Callable[[float], None] = field(default=lambda _seconds: None, repr=False)

    @property
    def firmware(self) -> Firmware:
        """The dialect that it speaks now."""
        other = self.faults.on(OtherFirmware)
        return Firmware(other.number) if other else self.spec.firmware

    @property
    def wants_key(self) -> bool:
        """Whether commands are refused until the connection has authenticated."""
        return self.firmware.authenticates and (self.spec.wants_key or self.refuses_keys)

    @property
    def refuses_keys(self) -> bool:
        """Whether no key is the right one."""
        return self.faults.on(RefuseKey) is not None

    @property
    def idle_close_s(self) -> float:
        """After how many seconds of silence a connection is closed."""
        idle = self.faults.on(IdleClose)
        return idle.seconds if idle else self.spec.idle_close_s

    @property
    def latency_s(self) -> float:
        """How many seconds each round trip takes more."""
        latency = self.faults.on(Latency)
        return latency.seconds if latency else 0.0

    @property
    def hidden_folders(self) -> frozenset[str]:
        """The folders that ``get_albums`` does not mention."""
        hidden = self.faults.on(HideFolders)
        return hidden.folders if hidden else frozenset()

    def volume(self) -> Volume:
        """Give the eMMC's size and what is free, which a fault can say otherwise."""
        volume, full = self.emmc.volume(), self.faults.on(Full)
        return Volume(volume.total_mb, full.free_mb) if full else volume


def _build_faults(spec: TelescopeSpec, journal: Journal) -> FaultBoard:
    faults = [read_fault(switch, fields) for switch, fields in spec.faults.items()]
    if spec.stack_rejects:
        faults.append(UseFewer(frames=spec.stack_rejects))
    if spec.albums_left_out:
        faults.append(HideFolders(folders=spec.albums_left_out))
    return FaultBoard(
        faults,
        seed=spec.fault_seed,
        note=lambda switch, subject: journal.note("fault", "", switch, params=subject or None),
    )


def build_device(
    spec: TelescopeSpec, *, clock: Clock, wall_clock: WallClock, journal: Journal, events: Events
) -> Device:
    """Put a telescope together (nothing runs yet)."""
    emmc = Emmc(spec.root, wall_clock.to_local)
    faults = _build_faults(spec, journal)
    batch_stack = BatchStack(
        emmc=emmc,
        clock=clock,
        wall_clock=wall_clock,
        publish=events.publish,
        journal=journal,
        faults=faults,
        wants_full_names=lambda: device.firmware.wants_full_names,
        has_room=lambda: device.volume().free_mb >= _ROOM_FOR_STACK_MB,
        stack_seconds=spec.stack_seconds,
    )
    device = Device(
        spec=spec,
        faults=faults,
        clock=clock,
        wall_clock=wall_clock,
        journal=journal,
        emmc=emmc,
        events=events,
        observation=Observation(events.publish, journal),
        batch_stack=batch_stack,
        power=Power(spec.battery_percent, spec.charging),
        cursor=ListingCursor(),
    )
    return device
