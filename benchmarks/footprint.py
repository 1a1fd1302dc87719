"""What all services hold in memory and take of a core: with nothing to do, and after a simulated night.

Memory is the proportional set size (PSS): a page that several processes share counts once in all. It is read
of each service and all below it, as is the processor time. Bytecode and malloc are as in our images. Flower
is left out: it is for whoever wants it.

Without ``--night`` a home whose set-up is done is idle, with simulated telescopes that are awake and have
nothing new; with it, the demo's night is played first and everything left running. Beside it, in the same
run, what Python itself costs with the frameworks that each kind of service needs, and nothing of ours.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import yaml
from common import Goal, Report, options_of
from rich.console import Console
from rich.table import Table

from skyrelay.service import installed_services
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec
from support.ports import free_port

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GOAL_MB, _GOAL_SHARE = 400.0, 0.01
_NIGHT_WITHIN_S = 900.0
_LEFT_OUT = "flower"
_ROOT = Path(__file__).parents[1]
CONTAINERS = (  # who shares a process to fork from in docker-compose.yml
    ("cloud-agent",),
    ("gateway",),
    ("stacker", "scheduler"),
    ("uploader",),
    ("watcher",),
)
_FRAMEWORKS = {
    "celery": "import celery.beat, celery.worker, kombu.transport.redis, sqlalchemy.orm, pydantic_settings",
    "fastapi": "import fastapi, uvicorn, jinja2, sqlalchemy.orm, redis.asyncio, pydantic_settings",
}


@dataclass(frozen=True, slots=True)
class Held:
    """What a service and all below it hold: processes, PSS in MB, processor seconds so far."""

    processes: int
    pss_mb: float
    spent_s: float


def main() -> None:
    """Measure and print the table."""
    wishes = options_of(
        __doc__,
        ("--settle", {"type": float, "help": "seconds before it is looked at (60)"}),
        ("--seconds", {"type": float, "help": "how long processor time is looked at (60)"}),
        ("--night", {"action": "store_true", "help": "play the demo's night first"}),
    )
    usual_s = 10.0 if wishes.quick else 60.0
    with tempfile.TemporaryDirectory(prefix="sky-") as place, ExitStack() as running:
        os.environ.update(as_in_images(Path(place) / "bytecode"))
        kind = after_a_night if wishes.night else idle_home
        pids = running.enter_context(kind(Path(place)))
        time.sleep(wishes.settle or usual_s)
        before, began = measure(pids), time.monotonic()
        time.sleep(wishes.seconds or usual_s)
        after, took_s = measure(pids), time.monotonic() - began
        bare = {name: bare_mb(code) for name, code in _FRAMEWORKS.items()}
    shares = {name: (held.spent_s - before[name].spent_s) / took_s for name, held in after.items()}
    show(after, shares, bare)
    report_all(Report("footprint", wishes), after, shares, bare, night=wishes.night)


def show(held: Mapping[str, Held], shares: Mapping[str, float], bare: Mapping[str, float]) -> None:
    """Print what each service holds, and all together."""
    table = Table(title="Footprint, without Flower", title_justify="left")
    for heading in ("service", "processes", "PSS", "of a core"):
        table.add_column(heading, justify="right")
    for name, each in held.items():
        table.add_row(name, str(each.processes), f"{each.pss_mb:.0f} MB", f"{100 * shares[name]:.2f} %")
    total_mb, share = sum(each.pss_mb for each in held.values()), sum(shares.values())
    processes = sum(each.processes for each in held.values())
    table.add_row("all", str(processes), f"{total_mb:.0f} MB", f"{100 * share:.2f} %")
    console = Console()
    console.print(table)
    console.print(
        f"Of the goals: {total_mb / _GOAL_MB:.2f} of {_GOAL_MB:.0f} MB,",
        f"{share / _GOAL_SHARE:.2f} of 1 % of a core.",
        "A process that has imported its frameworks and does nothing:",
        ", ".join(f"{name} {size:.0f} MB" for name, size in bare.items()) + ".",
        highlight=False,
    )


def report_all(
    report: Report,
    held: Mapping[str, Held],
    shares: Mapping[str, float],
    bare: Mapping[str, float],
    *,
    night: bool,
) -> None:
    """Report what all services hold together, beside one process that does nothing with its frameworks."""
    when = "after a night" if night else "idle"
    total_mb, most = sum(each.pss_mb for each in held.values()), max(bare, key=lambda name: bare[name])
    what = f"memory (PSS) of all services, {when}, beside one process that has imported {most}"
    report.add(what, total_mb, bare[most], unit="MB", goal=Goal(most=_GOAL_MB, of="ours"))
    goal = Goal(most=100 * _GOAL_SHARE, of="ours")
    report.add(f"all services, {when}", 100 * sum(shares.values()), unit="% of a core", goal=goal)
    report.close()


def as_in_images(bytecode: Path) -> dict[str, str]:
    """Give the environment that makes a process here hold what it holds in a container (see Dockerfile)."""
    environment = {"MALLOC_ARENA_MAX": "1", "PYTHONPYCACHEPREFIX": str(bytecode)}
    locked = re.findall(
        r"^([a-z0-9._-]+)==", (_ROOT / "requirements-light.lock").read_text(), flags=re.MULTILINE
    )
    folders = {path for name in locked for path in _folders_of(name)}
    command = [sys.executable, str(_ROOT / ".docker" / "lean_bytecode.py"), *map(str, sorted(folders))]
    subprocess.run(command, check=True, env={**os.environ, **environment})
    return environment


def _folders_of(name: str) -> Iterator[Path]:
    with suppress(PackageNotFoundError):  # what only another Python or system needs
        for file in files(name) or ():
            if len(file.parts) > 1 and file.suffix == ".py":
                yield Path(str(file.locate())).parents[len(file.parts) - 2]


def measure(pids: Mapping[str, int]) -> dict[str, Held]:
    """Look at each service and all below it."""
    return {name: _held([pid, *_below(pid)]) for name, pid in sorted(pids.items())}


def _held(pids: list[int]) -> Held:
    return Held(len(pids), sum(map(pss_mb, pids)), sum(map(_spent_s, pids)))


def pss_mb(pid: int) -> float:
    """Give the proportional set size of one process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _spent_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S  # with that of children that have ended


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from _below(child)


def bare_mb(code: str) -> float:
    """Give what a process holds that has imported something and waits."""
    command = [sys.executable, "-c", f"{code}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        size = pss_mb(process.pid)
        process.stdin.close()
        process.terminate()
    return size


@contextmanager
def idle_home(folder: Path) -> Iterator[dict[str, int]]:
    """Run all services of a home with two telescopes; give their process ids."""
    with ExitStack() as running:
        telescopes = [running.enter_context(telescope(folder, number)) for number in range(2)]
        (folder / "frames").mkdir()
        config = {
            "setup": "done",
            "data_dir": str(folder / "data"),
            "redis_url": f"unix://{folder / 'redis.sock'}",
            "gateway": {"host": "127.0.0.1", "port": free_port()},
            "crowdsky": {"enabled": False},
            "image_watcher": {"enabled": True, "watch_path": str(folder / "frames")},
            "telescopes": [_section(number, each) for number, each in enumerate(telescopes)],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        services = running.enter_context(
            Services(folder / "config.yaml", folder / "logs", folder / "redis.sock")
        )
        services.migrate()
        services.start_redis()
        for names in CONTAINERS:
            services.start(*names)
        yield {"+".join(names): services.pid_of(names[0]) for names in (("redis",), *CONTAINERS)}


def _section(number: int, telescope: SimulatedTelescope) -> dict[str, object]:
    end = telescope.endpoint
    ports = {"rpc_port": end.rpc_port, "http_port": end.http_port, "smb_port": end.smb_port}
    return {"name": f"telescope-{number + 1}", "host": end.host, **ports}


@contextmanager
def telescope(folder: Path, number: int) -> Iterator[SimulatedTelescope]:
    """Run a telescope without anything on it."""
    spec = TelescopeSpec(
        serial=f"1d3fe1{number:02x}", root=folder / f"emmc-{number}", smb_backend=SmbBackend.AUTO
    )
    with SimulatedTelescope(spec) as running:
        yield running


@contextmanager
def after_a_night(folder: Path) -> Iterator[dict[str, int]]:
    """Play the demo's night to its receipt; give the process ids of the services that are left running."""
    command = [sys.executable, "-m", "skyrelay.cli", "demo", "--keep", "--port", str(free_port())]
    log = (folder / "demo.log").open("w+")
    with log, subprocess.Popen([*command, "--folder", str(folder / "demo")], stdout=log, stderr=log) as demo:
        try:
            _await_night(demo, folder / "demo.log")
            yield _services_below(demo.pid)
        finally:
            demo.send_signal(signal.SIGINT)


def _await_night(demo: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _NIGHT_WITHIN_S
    while "Ctrl-C" not in log.read_text():
        if demo.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the demo's night did not end: {log.read_text()[-2000:]}")
        time.sleep(1.0)


def _services_below(pid: int) -> dict[str, int]:
    found = {}
    for each in _below(pid):
        words = Path(f"/proc/{each}/cmdline").read_bytes().decode().split("\0")
        if "redis-server" in words[0]:
            found["redis"] = each
        elif "skyrelay.service" in words:
            found.setdefault(words[words.index("skyrelay.service") + 1], each)  # before its own children
    return {
        name: each for name, each in found.items() if name in {"redis", *installed_services()} - {_LEFT_OUT}
    }


if __name__ == "__main__":
    main()
