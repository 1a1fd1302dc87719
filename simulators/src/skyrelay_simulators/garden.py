"""A garden to look at without a telescope: three of them, one observing, one locked, one switched off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from skyrelay_simulators.telescope.keys import generate_key_pair

_PORTS = {"rpc_port": 4700, "http_port": 8080, "smb_port": 4450, "udp_port": 4720}  # 80 and 445 want root
_HOSTS = {"meadow": "127.0.0.2", "shed": "127.0.0.3", "roof": "127.0.0.4"}
_TARGET = {
    "target": "M 81",
    "ra_deg": 148.888,
    "dec_deg": 69.065,
    "start": "2026-02-27T21:00:00+01:00",
    "frames": 90,
    "exposure_s": 20,
    "filter": "LP",
}
_NIGHT = {"width": 270, "height": 480, "targets": [_TARGET]}


def lay_out(folder: Path, *, control_port: int) -> Path:
    """Write what the garden and Skyrelay need into a folder; give the site file.

    Nothing that is there is replaced but the two YAML files: a key stays the one that its telescope wants.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site, config = folder / "site.yaml", folder / "config.yaml"
    _write(site, {"control_port": control_port, "telescopes": _telescopes(folder, _key(folder))})
    _write(config, {"setup": "done", "data_dir": str(folder / "data"), "telescopes": _configured()})
    return site


def _key(folder: Path) -> str:
    """Give the public half of the key beside ``seestar.pem``, made if need be."""
    private, public = folder / "seestar.pem", folder / "seestar.pub.pem"
    if not (private.exists() and public.exists()):
        pair = generate_key_pair()
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair.private_pem)
        public.write_bytes(pair.public_pem)
    return public.read_text(encoding="ascii")


def _telescopes(folder: Path, public_key: str) -> list[dict[str, Any]]:
    meadow = _telescope(folder, "meadow", "1d3fe189", firmware_ver_int=2846)
    shed = _telescope(
        folder, "shed", "a3497936", firmware_ver_int=2889, wants_key=True, public_key_pem=public_key
    )
    roof = _telescope(folder, "roof", "5e3a7b21", firmware_ver_int=2732, faults={"switched_off": {}})
    return [
        {"telescope": meadow, "observing": "M 31"},
        {"telescope": shed, "night": _NIGHT},
        {"telescope": roof},
    ]


def _telescope(folder: Path, name: str, serial: str, **traits: Any) -> dict[str, Any]:
    root = str((folder / name).resolve())
    usual = {"serial": serial, "root": root, "host": _HOSTS[name], "timezone": "Europe/Vienna"}
    return {**usual, **_PORTS, "stack_seconds": 5, **traits}


def _configured() -> list[dict[str, Any]]:
    ports = {name: port for name, port in _PORTS.items() if name != "udp_port"}
    return [{"name": name, "host": host, **ports} for name, host in _HOSTS.items()]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
