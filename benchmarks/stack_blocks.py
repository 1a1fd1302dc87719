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
from common import Goal, Report, options_of, repeats_of

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
    options = options_of(__doc__)
    blocks, theirs = 2 if options.quick else BLOCKS, str(public_client().python)
    ours_ms, theirs_ms = [], []
    for _ in range(repeats_of(options, 1)):
        theirs_ms.append(overhead_ms(measure(theirs, _THEIRS, blocks), blocks))
        ours_ms.append(overhead_ms(measure(sys.executable, _OURS, blocks), blocks))
    report = Report("stack_blocks", options)
    what = f"what orchestration adds to a block of {STACK_S:g} s ({blocks} of them), beside seestarpy"
    report.add(what, ours_ms, theirs_ms, unit="ms", goal=Goal(most=0.1))
    report.close()


def overhead_ms(wall_s: float, blocks: int) -> float:
    """Give the time of each block that is not the telescope's own."""
    return 1000 * (wall_s - blocks * STACK_S) / blocks


def measure(python: str, code: str, blocks: int) -> float:
    """Give the seconds that a client takes for all blocks of a fresh telescope."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "key.pem").write_bytes((pair := generate_key_pair()).private_pem)
        config = {
            "data_dir": str(folder / "data"),
            "telescopes": [{"name": "garden", "host": HOST, "key_path": str(folder / "key.pem")}],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with telescope(folder / "emmc", pair.public_pem, blocks):
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
    if stacked != blocks:
        raise SystemExit(f"{stacked} of {blocks} blocks were stacked")
    return float(seconds)


@contextmanager
def telescope(root: Path, public_key_pem: bytes, blocks: int) -> Iterator[None]:
    """Run a telescope with its night's frames in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_simulate, args=(there, root, public_key_pem, blocks))
    process.start()
    try:
        here.recv()
        yield
    finally:
        here.send("stop")
        process.join()


def _simulate(control: Connection, root: Path, public_key_pem: bytes, blocks: int) -> None:
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
        for number in range(blocks):
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
