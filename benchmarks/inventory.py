"""How long a complete inventory takes at 5 ms a round trip: ours beside the public client's.

Each lists every file of a simulated telescope over a delayed wire, connection and handshake included. The
telescope, the wire and the public client are processes of their own. Needs root (the public client wants a
telescope's own ports) and smbd.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
from common import Goal, Report, options_of, repeats_of
from slow_wire import SlowPort, slow_wire

from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay_simulators.telescope import (
    Endpoint,
    SimulatedTelescope,
    SmbBackend,
    TelescopeSpec,
    generate_key_pair,
)
from support.public_client import PublicClient, public_client

FRAMES = (2_000, 10_000)
ROUND_TRIP_S = 0.005
ROUNDS = 3
HOST, SLOW_HOST = "127.9.5.1", "127.9.5.2"
_CLOSED = 9  # a port at which nothing answers, so that SMB is out of reach at once
_FIRST = datetime(2026, 2, 27, 18, 0, tzinfo=UTC)
_THEIRS = """
import json, sys, time
from seestarpy import connection, data
connection.AVAILABLE_IPS.clear(); connection.DISCOVERED.clear()
connection.AVAILABLE_IPS["simulated"] = connection.DEFAULT_IP = sys.argv[1]
connection.VERBOSE_LEVEL = 0
began = time.perf_counter()
names = [name for folder in data.list_folders() for name in data.list_folder_contents(folder)]
print(json.dumps([time.perf_counter() - began, len(names)]))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """How long each round took, and how many files it found."""

    seconds: tuple[float, ...]
    files: int


def main() -> None:
    """Measure and print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    options, client = options_of(__doc__), public_client()
    report, rounds = Report("inventory", options), repeats_of(options, ROUNDS)
    for frames in (100,) if options.quick else FRAMES:
        theirs, smb, rpc = measure(client, frames, rounds)
        what = f"all files of {frames:,} frames at {1000 * ROUND_TRIP_S:g} ms a round trip, beside seestarpy"
        goal = Goal(least=10)
        report.add(f"{what}: by SMB (times as fast)", smb.seconds, theirs.seconds, goal=goal, inverse=True)
        report.add(f"{what}: by RPC pages alone (times)", rpc.seconds, theirs.seconds, inverse=True)
    report.close()


def measure(client: PublicClient, frames: int, rounds: int) -> tuple[Measured, Measured, Measured]:
    """Measure theirs, ours by SMB and ours by RPC on one telescope; all have to find the same files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "key.pem").write_bytes((pair := generate_key_pair()).private_pem)
        lay_down(folder / "emmc" / "MyWorks", frames)
        with telescope(folder / "emmc", pair.public_pem) as at, slow_wire(_ports(at), ROUND_TRIP_S):
            address = TelescopeAddress(host=SLOW_HOST, key_path=folder / "key.pem")
            measured = (
                repeat(rounds, lambda: theirs(client, folder)),
                repeat(rounds, lambda: ours(address)),
                repeat(rounds, lambda: ours(replace(address, smb_port=_CLOSED))),
            )
    if len({each.files for each in measured}) != 1:
        raise SystemExit(f"they do not agree on the files: {[each.files for each in measured]}")
    return measured


def repeat(times: int, once: Callable[[], tuple[float, int]]) -> Measured:
    """Measure some times."""
    rounds = [once() for _ in range(times)]
    return Measured(tuple(seconds for seconds, _ in rounds), rounds[0][1])


def ours(address: TelescopeAddress) -> tuple[float, int]:
    """List all files with our client; give the seconds and their number."""
    began = time.perf_counter()
    with Telescope(address) as seestar:
        folders = seestar.list_targets_folders().folders
        files = sum(len(seestar.list_folder(folder).files) for folder in folders)
    return time.perf_counter() - began, files


def theirs(client: PublicClient, folder: Path) -> tuple[float, int]:
    """List all files with the public client; it measures itself, its start left out."""
    done = subprocess.run(
        [client.python, "-c", _THEIRS, SLOW_HOST],
        env={"SEESTAR_KEY_PATH": str(folder / "key.pem"), "HOME": str(folder), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, files = json.loads(done.stdout.strip().splitlines()[-1])
    return float(seconds), int(files)


def lay_down(works: Path, frames: int) -> None:
    """Make a target's frames, each with its two pictures as on a telescope; their bytes do not matter."""
    (works / "M 81").mkdir(parents=True)
    folder = works / "M 81_sub"
    folder.mkdir()
    for number in range(frames):
        saved = _FIRST + timedelta(seconds=13 * number)
        stem = f"Light_M 81_10.0s_LP_{saved:%Y%m%d-%H%M%S}"
        for ending in (".fit", ".jpg", "_thn.jpg"):
            (folder / (stem + ending)).touch()


@contextmanager
def telescope(root: Path, public_key_pem: bytes) -> Iterator[Endpoint]:
    """Run a telescope in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_simulate, args=(there, root, public_key_pem))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join()


def _simulate(control: Connection, root: Path, public_key_pem: bytes) -> None:
    spec = TelescopeSpec(
        serial="1d3fe189",
        root=root,
        host=HOST,
        wants_key=True,
        public_key_pem=public_key_pem,
        smb_backend=SmbBackend.SMBD,
    )
    with SimulatedTelescope(spec) as running:
        control.send(running.endpoint)
        control.recv()


def _ports(at: Endpoint) -> tuple[SlowPort, ...]:
    pairs = ((4700, at.rpc_port), (80, at.http_port), (445, at.smb_port))
    return tuple(SlowPort(SLOW_HOST, port, at.host, to_port) for port, to_port in pairs)


if __name__ == "__main__":
    main()
