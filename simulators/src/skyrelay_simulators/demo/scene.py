"""What the demo's night is made of: two telescopes, three targets, and the configuration that fits them."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from skyrelay_simulators.demo.errors import DemoFailed
from skyrelay_simulators.stage import Stage, telescope_settings, watcher_settings

HOST = "127.0.0.1"
ANY_HOST = "0.0.0.0"  # noqa: S104 - inside a container that publishes no port
DEMO_PROJECT = "skyrelay-demo"
CROWDSKY_PORT, CLOUD_PORT = 8480, 8481  # as config/skyrelay-demo.yaml says, like the telescopes' ports
_FIXED_PORTS = (
    {"rpc_port": 4700, "http_port": 8080, "smb_port": 4450},
    {"rpc_port": 4701, "http_port": 8081, "smb_port": 4451},
)
ACCOUNT, PASSWORD = "demo", "demo-only"
_ZONE = "Europe/Vienna"
_NIGHT_SPEED = 300.0  # an hour and a quarter in a quarter of a minute
_WIDTH, _HEIGHT = 216, 384  # a fifth of a Seestar's frame each way: the demo is to run on a Raspberry Pi too
_STACK_S = 0.8  # a real telescope takes one to two minutes


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for."""

    frames: Path | None = None
    folder: Path | None = None
    port: int = 8474
    keep: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Places(Stage):
    """Where the demo keeps what."""

    @property
    def cloud(self) -> Path:
        """Where the node cloud answers, written by its process."""
        return self.folder / "cloud.json"

    @property
    def data_dir(self) -> Path:
        """The folder of the services."""
        return self.folder / "data"

    @property
    def key(self) -> Path:
        """The private key that one of the telescopes wants."""
        return self.folder / "seestar.pem"


def write_site(places: Places, frames: Path | None, *, fixed_ports: bool = False) -> None:
    """Describe the telescopes and their night; ``fixed_ports`` are those of config/skyrelay-demo.yaml."""
    telescopes = _replayed(places, frames) if frames else _made_up(places)
    for each, ports in zip(telescopes, _FIXED_PORTS if fixed_ports else (), strict=False):
        each["telescope"].update(ports, host=ANY_HOST)
    places.site.write_text(yaml.safe_dump({"telescopes": telescopes}, sort_keys=False), encoding="utf-8")


def write_config(places: Places, port: int) -> str:
    """Write the configuration for the endpoints that the simulators announced; give the page's address.

    Raises
    ------
    DemoFailed
        If an address is not this machine's own: the demo never speaks with a real server.
    """
    telescopes = json.loads(places.endpoints.read_text(encoding="utf-8"))["telescopes"]
    crowdsky_url, cloud_url = base_url_in(places.crowdsky), base_url_in(places.cloud)
    hosts = {urlsplit(url).hostname for url in (crowdsky_url, cloud_url)} | {
        each["host"] for each in telescopes
    }
    if hosts != {HOST}:
        raise DemoFailed("the demo speaks with its own simulators only")
    port = port if port and _is_free(port) else free_port()
    flower_port = free_port()
    config = {
        "setup": "done",
        "data_dir": str(places.data_dir),
        "telescopes": [_telescope(places, index, each) for index, each in enumerate(telescopes)],
        "image_watcher": watcher_settings(telescopes),
        # A night that takes seconds wants to be looked at more often than one that takes hours.
        "stacking": {"idle_s": 1, "grace_s": 0},
        "scheduler": {"reconcile_s": 1, "inventory_s": 5},
        "observatory": {"observer": "Demo", "latitude": 48.2, "longitude": 16.4, "timezone": _ZONE},
        "cloud": {"enabled": True, "url": cloud_url, "heartbeat_interval": 5},
        "crowdsky": {"base_url": crowdsky_url, "username": ACCOUNT, "password": PASSWORD, "confirm_s": 1},
        # One command and one look: it listens on this machine alone, and all behind it is simulated.
        "gateway": {"host": HOST, "port": port, "auth": "none"},
        "flower": {"port": flower_port, "url": f"http://{HOST}:{flower_port}"},
    }
    places.config.touch(mode=0o600)
    places.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return f"http://{HOST}:{port}"


def base_url_in(file: Path) -> str:
    """Give the address that a simulated server's process has announced."""
    return str(json.loads(file.read_text(encoding="utf-8"))["base_url"])


def free_port() -> int:
    """Give a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _made_up(places: Places) -> list[dict[str, Any]]:
    """One telescope with new firmware, which wants a key, and one with old firmware."""
    evening = _evening()
    garden = [
        _target("M 81", 148.888, 69.065, evening, minutes=35, exposure_s=20.0, filter_="LP"),
        _target(
            "M 42",
            83.822,
            -5.391,
            evening + timedelta(minutes=37),
            minutes=36,
            exposure_s=20.0,
            filter_="IRCUT",
        ),
    ]
    roof = [_target("NGC 7000", 314.75, 44.37, evening, minutes=65, exposure_s=30.0, filter_="LP")]
    return [
        {
            "telescope": _spec("5e3a7b21", places.folder / "garden", 2889)
            | {"wants_key": True, "public_key_pem": _make_key(places.key)},
            "night": _night(garden),
        },
        {"telescope": _spec("a3497936", places.folder / "roof", 2732), "night": _night(roof)},
    ]


def _replayed(places: Places, frames: Path) -> list[dict[str, Any]]:
    from skyrelay_simulators.night import find_real_frames
    from skyrelay_simulators.site import fixed_zone

    try:
        found = {frame.serial: frame.utc_offset for frame in reversed(find_real_frames(frames))}
    except OSError as error:
        raise DemoFailed(f"{frames}: cannot be read ({error.strerror})") from error
    if not found:
        raise DemoFailed(f"{frames}: there are no sub-frames (Light_*.fit) in it")
    return [
        {
            "telescope": _spec(serial, places.folder / serial, 2846) | {"timezone": fixed_zone(offset)},
            "replay": {"directory": str(frames.resolve()), "serial": serial},
        }
        for serial, offset in sorted(found.items())
    ]


def _evening() -> datetime:
    """Give 21:50 of the evening before last: a night that is over wherever this runs."""
    day = (datetime.now(UTC) - timedelta(days=2)).date()
    return datetime(day.year, day.month, day.day, 21, 50, tzinfo=ZoneInfo(_ZONE))


def _target(
    name: str,
    ra_deg: float,
    dec_deg: float,
    start: datetime,
    *,
    minutes: int,
    exposure_s: float,
    filter_: str,
) -> dict[str, Any]:
    return {
        "target": name,
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "start": start.isoformat(),
        "duration": minutes * 60,
        "exposure_s": exposure_s,
        "filter": filter_,
    }


def _night(targets: list[dict[str, Any]]) -> dict[str, Any]:
    return {"speed": _NIGHT_SPEED, "width": _WIDTH, "height": _HEIGHT, "targets": targets}


def _spec(serial: str, root: Path, firmware: int) -> dict[str, Any]:
    return {
        "serial": serial,
        "root": str(root),
        "firmware_ver_int": firmware,
        "timezone": _ZONE,
        "stack_seconds": _STACK_S,
    }


def _make_key(path: Path) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _telescope(places: Places, index: int, endpoint: dict[str, Any]) -> dict[str, Any]:
    names = ("garden", "roof")
    settings = telescope_settings(names[index] if index < len(names) else endpoint["serial"], endpoint)
    return settings | ({"key_path": str(places.key)} if places.key.exists() else {})
