"""Names to blocks: parse, group and filter beside the public client's own functions, in one run.

The public client runs in an environment and a process of its own (GPL-3); both sides get the same names,
do the same three steps and are timed inside their own process, several rounds in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from common import Goal, Report, options_of, repeats_of

from support.public_client import public_client

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 5
# Run by both interpreters; argv: module of the functions, file of names.
_MEASURE = """
import importlib, json, sys, time
chunks = importlib.import_module(sys.argv[1])
names = json.load(open(sys.argv[2]))
began = time.perf_counter()
parsed = []
for name in names:
    info = chunks.parse_light_filename(name)
    if info:
        info["filename"] = name
        parsed.append(info)
blocks = chunks.group_frames_into_blocks(parsed)
covered = chunks.parse_coverage_from_filenames([])
left = chunks.filter_covered_blocks(blocks, covered)
print(json.dumps([time.perf_counter() - began, len(left), sum(b["frame_count"] for b in left)]))
"""


def light_frame_names(count: int) -> list[str]:
    """Name frames as nights of four hours bring them, one every 23 seconds."""
    first = datetime(2026, 1, 1, 20, 0)  # noqa: DTZ001 - a telescope's wall clock
    night = 600
    names = []
    for number in range(count):
        day, frame = divmod(number, night)
        moment = first + timedelta(days=day, seconds=23 * frame)
        names.append(f"Light_M 81_20.0s_LP_{moment:%Y%m%d-%H%M%S}.fit")
    return names


def measure(python: str, module: str, names: Path) -> tuple[float, int, int]:
    """Give seconds, blocks and frames of one round."""
    environment = {"PATH": os.defpath, "TZ": "Europe/Vienna", "HOME": str(names.parent), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [python, "-c", _MEASURE, module, str(names)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    seconds, blocks, frames = json.loads(done.stdout.splitlines()[-1])
    return seconds, blocks, frames


def main() -> None:
    """Measure and report."""
    options = options_of(__doc__)
    report, theirs = Report("names", options), str(public_client().python)
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES[:1] if options.quick else SIZES:
            names = Path(folder) / f"{size}.json"
            names.write_text(json.dumps(light_frame_names(size)))
            ours_us, theirs_us = [], []
            for _ in range(repeats_of(options, ROUNDS)):
                mine = measure(sys.executable, "skyrelay.crowdsky.chunks", names)
                other = measure(theirs, "seestarpy.crowdsky.chunks", names)
                assert mine[1:] == other[1:], "both must find the same blocks"
                ours_us.append(mine[0] / size * 1e6)
                theirs_us.append(other[0] / size * 1e6)
            what = f"parse, group and filter {size:,} names beside seestarpy (times as fast)"
            goal = Goal(least=3) if size == max(SIZES) else None
            report.add(what, ours_us, theirs_us, unit="µs a name", goal=goal, inverse=True)
    report.close()


if __name__ == "__main__":
    main()
