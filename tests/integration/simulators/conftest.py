"""Simulated telescopes, and what they observe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec
from support.raw_seestar_client import RawSeestarClient

M81_START = datetime(2026, 2, 28, 3, 0, 0, 250000, UTC)


class MakeTelescope(Protocol):
    """Starts a telescope; no share unless asked for, since that is the slow part."""

    def __call__(self, **traits: Any) -> SimulatedTelescope:
        """Start it."""


@pytest.fixture
def make_telescope(tmp_path: Path) -> Iterator[MakeTelescope]:
    """Start telescopes that stop at the end of the test."""
    with ExitStack() as stack:

        def make(**traits: Any) -> SimulatedTelescope:
            serial = traits.pop("serial", "1d3fe189")
            defaults = {"root": tmp_path / serial, "smb_backend": SmbBackend.OFF, "stack_seconds": 0.05}
            return stack.enter_context(SimulatedTelescope(TelescopeSpec(serial=serial, **defaults | traits)))

        yield make


@pytest.fixture
def connect() -> Iterator[Callable[[SimulatedTelescope], RawSeestarClient]]:
    """Connect to telescopes; all connections close at the end of the test."""
    with ExitStack() as stack:
        yield lambda telescope: stack.enter_context(RawSeestarClient(telescope.endpoint))


def observe_m81(telescope: SimulatedTelescope, frames: int = 4, **plan: Any) -> list[Path]:
    """Have a telescope take small frames of M 81 at once; give their paths in order."""
    target = TargetPlan(target="M 81", ra_deg=148.888, dec_deg=69.065, start=M81_START, frames=frames, **plan)
    night = NightPlan(targets=(target,), width=64, height=96)
    progress = NightPlayer(make_night(night, telescope.spec, telescope.wall_clock.to_local)).play()
    assert progress.written == frames
    return sorted((telescope.spec.root / "MyWorks" / "M 81_sub").glob("*.fit"))
