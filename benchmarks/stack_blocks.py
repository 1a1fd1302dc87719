"""What orchestration adds to twelve stacks of a second each: ours beside the public client's.

Both drive the same simulated telescope (a process of its own, on a telescope's own ports), each from a
process of its own: wall time less the twelve seconds that the telescope itself takes. Needs root and smbd.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec, generate_key_pair
from support.public_client import public_client

BLOCKS, STACK_S, FRAMES = 12, 1.0, 12
HOST = "127.9.6.1"
_FIRST = datetime(2026, 2, 28, 2, 0, 5, tzinfo=UTC)
_OURS = """
import json, time
from skyrelay.crowdsky.chunks import stack_blocks
began = time.perf_counter()
summary = stack_blocks("M 81")
print(json.dumps([time.perf_counter() - began, summary["blocks_stacked"]]))
"""
_THEIRS = """
import json, sys, time
from seestarpy import connection, crowdsky
connection.AVAILABLE_IPS.clear(); connection.DISCOVERED.clear()
connection.AVAILABLE_IPS["simulated"] = connection.DEFAULT_IP = sys.argv[1]
connection.VERBOSE_LEVEL = 0
began = time.perf_counter()
summary = crowdsky.stack_blocks("M 81")
print(json.dumps([time.perf_counter() - began, summary["blocks_stacked"]]))
"""


def main() -> None:
    """Measure and print the table."""
    theirs_s = measure(str(public_client().python), _THEIRS)
    ours_s = measure(sys.executable, _OURS)
    table = Table(title=f"{BLOCKS} blocks, {STACK_S:g} s each on the telescope itself", title_justify="left")
    for heading in ("", "wall time", "overhead a block"):
        table.add_column(heading)
    for name, wall_s in (("seestarpy", theirs_s), ("Skyrelay", ours_s)):
        table.add_row(name, f"{wall_s:.2f} s", f"{1000 * overhead(wall_s) / BLOCKS:.0f} ms")
    Console().print(table)
    Console().print(f"Skyrelay's overhead is {overhead(ours_s) / overhead(theirs_s):.3f} of seestarpy's.")


def overhead(wall_s: float) -> float:
    """Give the seconds that are not the telescope's own."""
    return wall_s - BLOCKS * STACK_S


def measure(python: str, code: str) -> float:
    """Give the seconds that a client takes for all blocks of a fresh telescope."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "key.pem").write_bytes((pair := generate_key_pair()).private_pem)
        config = {
            "data_dir": str(folder / "data"),
            "telescopes": [{"name": "garden", "host": HOST, "key_path": str(folder / "key.pem")}],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with telescope(folder / "emmc", pair.public_pem):
            done = subprocess.run(
                [python, "-c", code, HOST],
                env={
                    "PATH": os.defpath,
                    "HOME": str(folder),
                    "TZ": "America/New_York",
                    "PYTHONUTF8": "1",
                    "SEESTAR_KEY_PATH": str(folder / "key.pem"),
                    "SKYRELAY_CONFIG": str(folder / "config.yaml"),
                },
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
    seconds, stacked = json.loads(done.stdout.strip().splitlines()[-1])
    if stacked != BLOCKS:
        raise SystemExit(f"{stacked} of {BLOCKS} blocks were stacked")
    return float(seconds)


@contextmanager
def telescope(root: Path, public_key_pem: bytes) -> Iterator[None]:
    """Run a telescope with its night's frames in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_simulate, args=(there, root, public_key_pem))
    process.start()
    try:
        here.recv()
        yield
    finally:
        here.send("stop")
        process.join()


def _simulate(control: Connection, root: Path, public_key_pem: bytes) -> None:
    spec = TelescopeSpec(
        serial="1d3fe189",
        root=root,
        host=HOST,
        rpc_port=4700,
        http_port=80,
        smb_port=445,
        timezone="America/New_York",
        wants_key=True,
        public_key_pem=public_key_pem,
        smb_backend=SmbBackend.SMBD,
        stack_seconds=STACK_S,
    )
    with SimulatedTelescope(spec) as running:
        for number in range(BLOCKS):
            target = TargetPlan(
                target="M 81",
                start=_FIRST + number * timedelta(minutes=15),
                frames=FRAMES,
                exposure_s=20.0,
                ra_deg=148.888,
                dec_deg=69.065,
            )
            night = NightPlan(targets=(target,), width=32, height=48)
            NightPlayer(make_night(night, spec, running.wall_clock.to_local)).play()
        control.send("ready")
        control.recv()


if __name__ == "__main__":
    main()
