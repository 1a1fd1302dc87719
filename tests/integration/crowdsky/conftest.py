"""A CrowdSky server of our own, and a client that is logged in to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.session import CrowdSkySession, new_session
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from support.fits_files import write_fits

PASSWORD = "s3cret-päss"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedCrowdSky]:
    """A server that knows alice, and does not scrub for anybody."""
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": PASSWORD}, server_scrubs=False) as running:
        yield running


@pytest.fixture
def client(server: SimulatedCrowdSky) -> CrowdSkyClient:
    """Alice's client, which waits no longer than a test should."""
    return CrowdSkyClient(server.base_url, "alice", PASSWORD, connect_timeout_s=5.0, read_timeout_s=30.0)


@pytest.fixture
def upload(tmp_path: Path) -> StackUpload:
    """A stack of 32 frames, small enough for one packet or two."""
    return stack_upload(write_fits(tmp_path / "stack.fit"))


@pytest.fixture
def large_upload(tmp_path: Path) -> StackUpload:
    """A stack that no socket's buffer holds: part of it is still here when part of it is there."""
    return stack_upload(write_fits(tmp_path / "large.fit", bytes(32 * 1024 * 1024), NAXIS1=4096, NAXIS2=4096))


def stack_upload(path: Path) -> StackUpload:
    """Describe the stack in ``path``."""
    return StackUpload(
        path,
        "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
        n_frames_input=32,
        n_frames_aligned=31,
        date_obs_start=datetime(2025, 3, 27, 1, 20, 32, 955_368, tzinfo=UTC),
        date_obs_end=datetime(2025, 3, 27, 1, 26, 57, tzinfo=UTC),
    )


@pytest.fixture
def session(
    server: SimulatedCrowdSky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CrowdSkySession]:
    """Alice's session for the public functions, which remembers what it sent in a folder of its own."""
    for name in [name for name in os.environ if name.startswith(("SKYRELAY_", "CROWDSKY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SKYRELAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SKYRELAY_CROWDSKY__CONFIRM_S", "0.1")
    with new_session() as fresh:
        fresh.set_base_url(server.base_url)
        fresh.set_credentials("alice", PASSWORD)
        yield fresh


@pytest.fixture
def server_(server: SimulatedCrowdSky) -> SimulatedCrowdSky:
    """The same server, for tests in which ``server`` is the module of that name."""
    return server
