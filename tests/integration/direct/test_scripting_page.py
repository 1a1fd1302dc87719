"""The page for people who script is true: its example runs, line by line, against the simulators."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay import crowdsky
from skyrelay.crowdsky import server
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.telescope import SmbBackend
from support.telescopes import EVENING, MakeTelescope, settings_of, stacks_on, take_frames

PAGE = Path(__file__).parents[3] / "docs" / "scripting.md"
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```", re.DOTALL)


@pytest.fixture
def crowdsky_server(tmp_path: Path) -> SimulatedCrowdSky:
    return SimulatedCrowdSky(tmp_path / "crowdsky", users={"alice": "s3cret"})


def test_the_typical_workflow_runs_as_it_is_printed(
    configure: Callable[..., Path],
    make_telescope: MakeTelescope,
    crowdsky_server: SimulatedCrowdSky,
    tmp_path: Path,
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, stack_seconds=1.1)
    take_frames(telescope, "M 81", frames=25)
    take_frames(
        telescope, "NGC 7000", frames=25, start=EVENING.replace(minute=30), ra_deg=314.0, dec_deg=44.0
    )
    match = EXAMPLE.search(PAGE.read_text(encoding="utf-8"))
    assert match is not None
    with crowdsky_server:
        configure(settings_of(telescope), crowdsky={"base_url": crowdsky_server.base_url})
        script = [sys.executable, "-c", match["code"]]
        done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert len(crowdsky_server.uploads) == 2
    assert [line for line in done.stdout.splitlines() if line and line[0].isdigit()] == [
        "1 blocks stacked",
        "1 more",
        "2 uploaded, 0 were there already",
    ]
    assert len(stacks_on(telescope)) == len(stacks_on(telescope, "NGC 7000")) == 1
    assert len(list((tmp_path / "downloads").iterdir())) == 2


def test_every_name_on_the_page_is_a_function() -> None:
    named = set(re.findall(r"\b(crowdsky|server)\.(\w+)\(", PAGE.read_text(encoding="utf-8")))
    modules = {"crowdsky": crowdsky, "server": server}
    assert named
    assert all(callable(getattr(modules[module], name)) for module, name in named)
