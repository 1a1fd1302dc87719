"""Simulated telescopes with small frames on them, as the services are configured for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from skyrelay.settings import TelescopeSettings
from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec

SERIAL = "1d3fe189"
# 22:00:10 in New York, so that a quarter of an hour begins just before it.
EVENING = datetime(2026, 2, 28, 3, 0, 10, 250000, tzinfo=UTC)
CHANGES = frozenset(
    {
        "clear_batch_stack",
        "clear_app_state",
        "set_batch_stack_setting",
        "start_batch_stack",
        "stop_batch_stack",
        "iscope_start_view",
        "iscope_stop_view",
        "pi_set_time",
    }
)
_NOBODY_LISTENS = 1  # a port of this machine at which nothing answers


class MakeTelescope(Protocol):
    """Starts a telescope; without a share unless one is asked for, since that is the slow part."""

    def __call__(self, **traits: Any) -> SimulatedTelescope:
        """Start it."""


@pytest.fixture
def make_telescope(tmp_path: Path) -> Iterator[MakeTelescope]:
    """Start telescopes that stop at the end of the test."""
    with ExitStack() as running:

        def make(**traits: Any) -> SimulatedTelescope:
            serial = traits.pop("serial", SERIAL)
            usual: dict[str, Any] = {
                "root": tmp_path / serial,
                "smb_backend": SmbBackend.OFF,
                "stack_seconds": 0.1,
                "timezone": "America/New_York",
            }
            spec = TelescopeSpec(serial=serial, **{**usual, **traits})
            return running.enter_context(SimulatedTelescope(spec))

        yield make


def take_frames(
    telescope: SimulatedTelescope,
    target: str = "M 81",
    start: datetime = EVENING,
    frames: int = 5,
    **plan: Any,
) -> list[str]:
    """Have a telescope take small frames at once; name those of the target, in order."""
    usual: dict[str, Any] = {"ra_deg": 148.888, "dec_deg": 69.065}
    night = NightPlan(
        targets=(TargetPlan(target=target, start=start, frames=frames, **{**usual, **plan}),),
        width=64,
        height=96,
    )
    progress = NightPlayer(make_night(night, telescope.spec, telescope.wall_clock.to_local)).play()
    assert (progress.written, progress.error) == (frames, "")
    return frame_names(telescope, target)


def frame_names(telescope: SimulatedTelescope, target: str = "M 81") -> list[str]:
    """Name the frames of a target that lie on a telescope, in order."""
    return sorted(path.name for path in sub_folder(telescope, target).glob("*.fit"))


def sub_folder(telescope: SimulatedTelescope, target: str = "M 81") -> Path:
    """Give the folder of a target's frames."""
    return telescope.emmc.root / "MyWorks" / f"{target}_sub"


def stacks_on(telescope: SimulatedTelescope, target: str = "M 81") -> list[str]:
    """Name the stacks of a target that lie on a telescope."""
    folder = telescope.emmc.root / "MyWorks" / target
    return sorted(path.name for path in folder.glob("*.fit"))


def asked(telescope: SimulatedTelescope, method: str) -> int:
    """Count how often a telescope was asked for something."""
    return telescope.journal.methods().count(method)


def headers_read(telescope: SimulatedTelescope) -> set[str]:
    """Name the files of which a telescope was asked for bytes over HTTP."""
    entries = telescope.journal.entries(channel="http", method="GET")
    return {str(entry.params["path"]).rpartition("/")[2].replace("%20", " ") for entry in entries}


def settings_of(telescope: SimulatedTelescope, name: str = "garden", **changes: Any) -> TelescopeSettings:
    """Configure a running telescope."""
    at = telescope.endpoint
    usual: dict[str, Any] = {
        "host": at.host,
        "rpc_port": at.rpc_port,
        "http_port": at.http_port,
        "smb_port": at.smb_port or _NOBODY_LISTENS,
    }
    return TelescopeSettings(name=name, **{**usual, **changes})
