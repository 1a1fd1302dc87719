"""A progress bar on a terminal, and not a byte elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from support.fits_files import write_fits

PASSWORD = "s3cret-päss"
KEY = "20250327.05_HP033810"
TRANSFER = f"""
import sys
from skyrelay.crowdsky import server
server.upload_stack(sys.argv[1])
server.download_stack("{KEY}", sys.argv[2])
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str | Path]:
    stack = write_fits(tmp_path / "stack.fit", bytes(8_000_000), NAXIS1=2000, NAXIS2=2000)
    return [sys.executable, "-c", TRANSFER, stack, tmp_path / "down"]


@pytest.fixture
def environment(server: SimulatedCrowdSky) -> dict[str, str]:
    return os.environ | {
        "SKYRELAY_CROWDSKY__BASE_URL": server.base_url,
        "CROWDSKY_USERNAME": "alice",
        "CROWDSKY_PASSWORD": PASSWORD,
        "TERM": "xterm",
        "COLUMNS": "120",
    }


def test_a_terminal_shows_what_is_on_its_way(command: list[str | Path], environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = read_to_the_end(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)

    assert process.returncode == 0, shown
    assert b"stack.fit" in shown
    assert KEY.encode() in shown
    assert PASSWORD.encode() not in shown


def test_elsewhere_there_is_none(command: list[str | Path], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)

    assert (done.stdout, done.stderr) == (b"", b"")


def read_to_the_end(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so at the end of a terminal
            return shown
        if not piece:
            return shown
        shown += piece
