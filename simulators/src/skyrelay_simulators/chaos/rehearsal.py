"""Play the night, let everything go wrong, wait until it is settled, and judge."""

from __future__ import annotations

import json
import random
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from skyrelay_simulators.chaos.machine import CROWDSKY_NAME, Machine
from skyrelay_simulators.chaos.mishaps import Kind, plan_mishaps
from skyrelay_simulators.chaos.monkey import Monkey
from skyrelay_simulators.chaos.scene import Scene
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.chaos.simulators import Simulators
from skyrelay_simulators.chaos.verdict import Verdict, is_settled, judge
from skyrelay_simulators.demo.errors import DemoFailed
from skyrelay_simulators.demo.processes import Processes
from skyrelay_simulators.demo.scene import ACCOUNT, PASSWORD, base_url_in

_START_WITHIN_S = 120.0
_SETTLED_WITHIN_S = 900.0
_LISTEN_S = 8.0  # once all is there, whether anything comes a second time
_LOOK_EVERY_S = 0.5
_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for."""

    telescopes: int
    blocks: int
    kills: int
    seed: int | None
    folder: Path | None
    mishaps: frozenset[Kind] = frozenset(Kind)
    spell_s: float = 30.0


def rehearse(wishes: Wishes) -> int:
    """Rehearse the worst night; give the exit code."""
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    seed = secrets.randbelow(1_000_000) if wishes.seed is None else wishes.seed
    folder = wishes.folder or Path(tempfile.mkdtemp(prefix="skyrelay-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(folder.resolve(), wishes.telescopes, wishes.blocks)
    console.print(f"Files and logs lie in {folder}; the dice have the seed {seed}.", highlight=False)
    began = time.monotonic()
    try:
        verdict, happened = _rehearse(scene, wishes, random.Random(seed), console)
    except DemoFailed as error:
        console.print(f"[bold red]The rehearsal failed.[/] {error}", highlight=False)
        return 1
    _report(verdict, happened, time.monotonic() - began, console)
    return 0 if verdict.is_good else 1


def _rehearse(
    scene: Scene, wishes: Wishes, dice: random.Random, console: Console
) -> tuple[Verdict, dict[str, int]]:
    with ExitStack() as running:
        socket = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="sky-"))) / "redis.sock"
        simulators = start_simulators(running.enter_context(Processes(scene.folder / "logs")), scene)
        machine = running.enter_context(Machine(scene.folder, wishes.mishaps))
        for line in machine.left_out():
            console.print(f"Left out, {line}.", highlight=False)
        services = running.enter_context(Services(scene.config, scene.folder / "logs", socket, machine))
        scene.write_config(services.redis_url, CROWDSKY_NAME if machine.has(Kind.DNS) else None)
        services.migrate()
        services.start_redis()
        for name in services.names:
            services.start(name)
        simulators.start_night()
        monkey = Monkey(services, simulators, machine, scene.serials, wishes.spell_s, dice, console)
        monkey.play(plan_mishaps(machine.kinds, services.names, wishes.kills, dice))
        console.print("Nothing more goes wrong. Waiting until every block is where it belongs …")
        _wait(lambda: is_settled(scene, simulators), monkey, _SETTLED_WITHIN_S)
        time.sleep(_LISTEN_S)
        return judge(scene, simulators), dict(monkey.happened)


def start_simulators(processes: Processes, scene: Scene) -> Simulators:
    """Start the telescopes and the server; give their control ports."""
    scene.write_site()
    site = ["--site", str(scene.site), "--endpoints", str(scene.endpoints)]
    processes.start("telescopes", "simulate", "telescope", *site)
    where = [
        "--host",
        scene.host,
        "--port",
        "0",
        "--data-dir",
        str(scene.folder / "crowdsky"),
        "--ready-file",
        str(scene.crowdsky),
    ]
    account, password = ["--username", ACCOUNT], {"CROWDSKY_PASSWORD": PASSWORD}
    processes.start("crowdsky", "simulate", "crowdsky", *where, *account, environment=password)
    for file in (scene.endpoints, scene.crowdsky):
        processes.wait_for(
            f"the simulator that announces itself in {file.name}", file.exists, _START_WITHIN_S
        )
    control = json.loads(scene.endpoints.read_text(encoding="utf-8"))["control"]
    return Simulators(control, base_url_in(scene.crowdsky))


def _wait(is_so: Callable[[], bool], monkey: Monkey, within_s: float) -> None:
    """Wait until something is so, or for as long as one can; the verdict says which."""
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        monkey.revive()
        monkey.help_by_hand()
        time.sleep(_LOOK_EVERY_S)


def _report(verdict: Verdict, happened: dict[str, int], took_s: float, console: Console) -> None:
    for what, lines in (
        ("lost", verdict.lost),
        ("twice", verdict.twice),
        ("odd", verdict.odd),
        ("against the rules", verdict.misconduct),
    ):
        for line in lines:
            console.print(f"[red]{what}[/]: {line}", highlight=False)
    mishaps = ", ".join(f"{name} {number}x" for name, number in sorted(happened.items()))
    console.print(f"Went wrong: {mishaps}.", highlight=False)
    console.print(
        f"[bold]{verdict.blocks} blocks: lost {len(verdict.lost)}, twice {len(verdict.twice)}, "
        f"odd {len(verdict.odd)}, longest recovery {verdict.longest_silence_s:.0f} s[/] "
        f"(a telescope with work left was told nothing for that long). It took {took_s:.0f} s.",
        highlight=False,
    )
