"""A simulated telescope with frames on it, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.telescope import (
    KeyPair,
    SimulatedTelescope,
    SmbBackend,
    TelescopeSpec,
    generate_key_pair,
)

TARGET, FOLDER = "M 81", "M 81_sub"
_FIRST = datetime(2026, 2, 27, 21, 45, 10, tzinfo=UTC)

Simulate = Callable[..., SimulatedTelescope]
Connect = Callable[..., Telescope]


@pytest.fixture(scope="session")
def keys() -> KeyPair:
    """Give a pair of keys."""
    return generate_key_pair()


@pytest.fixture
def key_path(keys: KeyPair, tmp_path: Path) -> Path:
    """Give the user's key file."""
    path = tmp_path / "key.pem"
    path.write_bytes(keys.private_pem)
    return path


@pytest.fixture
def emmc(tmp_path: Path) -> Path:
    """Give the telescope's storage, with four frames of a target on it."""
    root = tmp_path / "emmc"
    folder = root / "MyWorks" / FOLDER
    folder.mkdir(parents=True)
    spec = TelescopeSpec(serial="1d3fe189", root=root)
    for number in range(4):
        started = _FIRST + timedelta(seconds=23.6 * number)
        facts = LightFrameFacts(
            spec=spec,
            target=TARGET,
            started=started,
            exposure_s=20.0,
            filter="LP",
            ra_deg=148.9,
            dec_deg=69.1,
        )
        saved = started + timedelta(seconds=23.4)
        pixels = np.full((48, 32), 1000 + number, dtype=np.uint16)
        (folder / f"Light_{TARGET}_20.0s_LP_{saved:%Y%m%d-%H%M%S}.fit").write_bytes(
            frame_bytes(facts, pixels)
        )
    return root


@pytest.fixture
def frames(emmc: Path) -> list[str]:
    """Name the frames."""
    return sorted(path.name for path in (emmc / "MyWorks" / FOLDER).glob("*.fit"))


@pytest.fixture
def simulate(emmc: Path, keys: KeyPair) -> Iterator[Simulate]:
    """Give a function that starts a telescope, without a share unless one is asked for."""
    with ExitStack() as running:

        def start(**fields: Any) -> SimulatedTelescope:
            spec = TelescopeSpec(
                serial="1d3fe189", root=emmc, smb_backend=SmbBackend.OFF, public_key_pem=keys.public_pem
            )
            return running.enter_context(SimulatedTelescope(replace(spec, **fields)))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Give a function that makes a client; fields of its address can be changed."""
    with ExitStack() as open_clients:

        def make(telescope: SimulatedTelescope, *, reply_s: float = 5.0, **changes: Any) -> Telescope:
            at = telescope.endpoint
            address = TelescopeAddress(at.host, at.rpc_port, at.http_port, at.smb_port or 1, name="garden")
            within = timedelta(seconds=reply_s)
            client = Telescope(replace(address, **changes), connect=within, reply=within)
            return open_clients.enter_context(client)

        yield make
