"""What a simulated telescope is, and where it listens once it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from skyrelay_simulators.telescope.faults import read_fault
from skyrelay_simulators.telescope.firmware import Firmware

ANY_FREE_PORT = 0


class SmbBackend(StrEnum):
    """Which program serves the telescope's share."""

    AUTO = "auto"  # smbd where it is installed, else impacket
    SMBD = "smbd"
    IMPACKET = "impacket"
    OFF = "off"  # no SMB at all: the telescope's port 445 is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class TelescopeSpec:
    """One telescope to simulate.

    Attributes
    ----------
    serial
        The serial number ``sn``; frames carry it as ``TELESCOP = 'S50_<sn>'``.
    root
        Folder on disk that plays the eMMC; it holds (or will hold) ``MyWorks``.
    model
        Product model, e.g. ``Seestar S50``.
    host
        Address that every server binds to.
    rpc_port, http_port, smb_port, udp_port
        4700, 80, 445 and 4720 in life; 0 takes any free port.
    firmware_ver_int
        2427, 2658, 2732, 2775, 2846, 2889, …; decides the dialect (see `Firmware`).
    timezone
        IANA name of the zone that its wall clock shows.
    wants_key
        Whether commands are refused until the connection has authenticated.
    public_key_pem
        The public half of the key that signs challenges; required with ``wants_key``.
    stack_seconds
        How long a batch stack takes, at least.
    stack_rejects
        How many frames of each batch stack do not align, and so are left out (fault ``use_fewer``).
    longitude_deg, latitude_deg
        The site, east and north positive.
    battery_percent
        Charge; `None` leaves the field out of the status.
    charging
        Whether the charger is connected.
    idle_close_s
        A connection silent for that long is closed (15.5 s seen live, firmware 8.89).
    event_interval_s
        Seconds between two unasked status events; 0 sends none, not even at the handshake.
    share
        Name of the SMB share; some firmware documents ``Seestar``.
    albums_left_out
        Folders that ``get_albums`` does not mention (live: up to 8 of 41; fault ``hide_folders``).
    faults
        What is switched on from the start: fields by switch, see `faults` and docs/simulator.md.
    fault_seed
        Of the dice that incidents are thrown with; `None` for chance.
    journal_path
        File that the journal is appended to as JSON lines, if wanted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {
        "extra": "forbid"
    }  # so that a site file's misspelt field is named

    serial: str
    root: Path
    model: str = "Seestar S50"
    host: str = "127.0.0.1"
    rpc_port: int = ANY_FREE_PORT
    http_port: int = ANY_FREE_PORT
    smb_port: int = ANY_FREE_PORT
    udp_port: int = ANY_FREE_PORT
    firmware_ver_int: int = 2846
    timezone: str = "UTC"
    wants_key: bool = False
    public_key_pem: bytes | None = field(default=None, repr=False)
    stack_seconds: float = 1.0
    stack_rejects: int = 0
    longitude_deg: float = field(default=0.0, repr=False)
    latitude_deg: float = field(default=0.0, repr=False)
    battery_percent: int | None = 85
    charging: bool = False
    idle_close_s: float = 15.5
    event_interval_s: float = 5.0
    smb_backend: SmbBackend = SmbBackend.AUTO
    share: str = "EMMC Images"
    albums_left_out: frozenset[str] = frozenset()
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fault_seed: int | None = None
    journal_path: Path | None = None

    def __post_init__(self) -> None:
        if self.wants_key and not self.public_key_pem:
            raise ValueError(
                f"telescope {self.serial} wants a key: give public_key_pem, or turn wants_key off"
            )
        for switch, fields in self.faults.items():
            read_fault(switch, fields)

    @property
    def firmware(self) -> Firmware:
        """The dialect that this telescope speaks."""
        return Firmware(self.firmware_ver_int)

    @property
    def telescop(self) -> str:
        """The TELESCOP card, e.g. ``S50_1d3fe189``."""
        return f"{self.model.removeprefix('Seestar ').replace(' ', '')}_{self.serial}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running telescope answers; ``smb_port`` is 0 when it serves no share."""

    host: str
    rpc_port: int
    http_port: int
    smb_port: int
    udp_port: int
