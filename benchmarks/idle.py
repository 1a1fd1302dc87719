"""What stacker and scheduler cost while there is nothing to do: processor time of a core, as installed.

A home whose set-up is done, with a real Redis and simulated telescopes that are awake and have nothing new.
The processor time of each process and its children is read from ``/proc`` before and after. Beside it, in the
same run, a Celery worker and a beat that do nothing at all, with Celery's defaults: what the framework costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from common import Goal, Report, options_of, repeats_of

from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SETTLE_S = 45.0  # the start is no idling: first looks, first ticks
_BARE = """
from celery import Celery
app = Celery("bare", broker=%r)
app.conf.update(worker_hijack_root_logger=False, timezone="UTC", enable_utc=True)
"""


def main() -> None:
    """Measure and print the table."""
    wishes = options_of(
        __doc__,
        ("--seconds", {"type": float, "help": "how long to look (120)"}),
        ("--telescopes", {"type": int, "default": 2, "help": "simulated ones, awake, with nothing new"}),
    )
    seconds, settle_s = (3.0, 10.0) if wishes.quick else (120.0, _SETTLE_S)
    with tempfile.TemporaryDirectory(prefix="sky-") as place, ExitStack() as running:
        folder = Path(place)
        telescopes = [running.enter_context(telescope(folder, number)) for number in range(wishes.telescopes)]
        services = running.enter_context(our_services(folder, telescopes))
        bare = running.enter_context(bare_celery(folder))
        processes = {**services, **bare}
        time.sleep(settle_s)
        rounds = [shares_over(processes, wishes.seconds or seconds) for _ in range(repeats_of(wishes, 1))]
    report = Report("idle", wishes)
    ours, beside = ([share_of(shares, bare=bare) for shares in rounds] for bare in (False, True))
    what = f"stacker and scheduler with {wishes.telescopes} idle telescopes, beside a bare worker and beat"
    report.add(what, ours, beside, unit="% of a core", goal=Goal(most=1, of="ours"))
    report.close()


def shares_over(processes: dict[str, int], seconds: float) -> dict[str, float]:
    """Give what percentage of a core each process takes over some seconds."""
    before, began = {name: spent_s(pid) for name, pid in processes.items()}, time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began
    return {name: 100 * (spent_s(pid) - before[name]) / took_s for name, pid in processes.items()}


def share_of(shares: dict[str, float], *, bare: bool) -> float:
    """Add up ours, or the bare ones."""
    return sum(share for name, share in shares.items() if name.startswith("bare ") is bare)


def spent_s(pid: int) -> float:
    """Give the processor seconds that a process and all below it have taken."""
    return sum(_own_s(each) for each in (pid, *_below(pid)))


def _own_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from _below(child)


@contextmanager
def our_services(folder: Path, telescopes: list[SimulatedTelescope]) -> Iterator[dict[str, int]]:
    """Run the stacker and the scheduler as they are installed; give their process ids."""
    config = {
        "setup": "done",
        "data_dir": str(folder / "data"),
        "redis_url": f"unix://{folder / 'redis.sock'}",
        "telescopes": [
            {
                "name": f"telescope-{number + 1}",
                "host": each.endpoint.host,
                "rpc_port": each.endpoint.rpc_port,
                "http_port": each.endpoint.http_port,
                "smb_port": each.endpoint.smb_port,
            }
            for number, each in enumerate(telescopes)
        ],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with Services(folder / "config.yaml", folder / "logs", folder / "redis.sock") as services:
        services.migrate()
        services.start_redis()
        for name in ("stacker", "scheduler"):
            services.start(name)
        yield {name: services.pid_of(name) for name in ("stacker", "scheduler")}


@contextmanager
def bare_celery(folder: Path) -> Iterator[dict[str, int]]:
    """Run a worker and a beat that do nothing."""
    (folder / "bare.py").write_text(_BARE % f"redis+socket://{folder / 'redis.sock'}?virtual_host=1")
    worker = ("worker", "--pool=prefork", "--concurrency=2", "--queues=bare")
    with ExitStack() as running:
        pids = {}
        for name, arguments in (("bare worker", worker), ("bare beat", ("beat",))):
            command = [sys.executable, "-m", "celery", "-A", "bare", *arguments]
            popen = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            process = running.enter_context(popen)
            running.callback(process.terminate)
            pids[name] = process.pid
        yield pids


@contextmanager
def telescope(folder: Path, number: int) -> Iterator[SimulatedTelescope]:
    """Run a telescope without anything on it."""
    spec = TelescopeSpec(
        serial=f"1d3fe1{number:02x}", root=folder / f"emmc-{number}", smb_backend=SmbBackend.AUTO
    )
    with SimulatedTelescope(spec) as running:
        yield running


if __name__ == "__main__":
    main()
