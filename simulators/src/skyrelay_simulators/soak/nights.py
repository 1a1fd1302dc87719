"""Play the nights, look at the services after each, and say what has grown."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from skyrelay_simulators.chaos.rehearsal import start_simulators
from skyrelay_simulators.chaos.scene import ZONE, Scene
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.chaos.simulators import Simulators
from skyrelay_simulators.chaos.verdict import is_settled
from skyrelay_simulators.demo.errors import DemoFailed
from skyrelay_simulators.demo.processes import Processes
from skyrelay_simulators.night import NightPlan, NightPlayer, make_night
from skyrelay_simulators.soak.processes import Holding, growth_percent, holding_of
from skyrelay_simulators.telescope import SystemClock, TelescopeSpec
from skyrelay_simulators.telescope.clock import WallClock

_NIGHT_WITHIN_S = 600.0
_QUIET_S = 8.0  # after a night, before it is looked at what the services hold
_LOOK_EVERY_S = 0.5
_WARM_UP = 4  # nights after which memory must be flat
_MOST_GROWTH = 1.0  # percent a night
_NEEDS = 4  # nights after the warm-up, below which a slope says nothing
_WIDTH = 130


@dataclass(frozen=True, slots=True)
class SoakWishes:
    """What the person asked for."""

    nights: int
    telescopes: int
    blocks: int
    folder: Path | None


@dataclass(slots=True)
class Diary:
    """What was seen after each night."""

    holdings: dict[str, list[Holding]] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)
    blocks: int = 0
    twice: list[str] = field(default_factory=list)

    @property
    def nights(self) -> int:
        """How many nights were seen to their end."""
        return min(map(len, self.holdings.values()), default=0)

    def growing(self) -> Iterator[str]:
        """Name what grows: memory by more than a percent a night, files or threads at all, after a while."""
        for name, seen in self.holdings.items():
            late = seen[_WARM_UP:]
            if len(late) < _NEEDS:
                continue
            slope = growth_percent([each.pss_mb for each in late])
            if slope > _MOST_GROWTH:
                yield f"the memory of {name} grows by {slope:.2f} % a night"
            for what in ("files", "sockets", "threads"):
                values = [getattr(each, what) for each in late]
                if min(values[len(values) // 2 :]) > max(values[: len(values) // 2]):
                    yield f"the {what} of {name} grow: {values}"


def soak_nights(wishes: SoakWishes) -> int:
    """Run the nights; give the exit code."""
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    folder = (wishes.folder or Path(tempfile.mkdtemp(prefix="skyrelay-soak-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"Files and logs lie in {folder}.", highlight=False)
    began, diary = time.monotonic(), Diary()
    try:
        _soak(Scene(folder, wishes.telescopes, wishes.blocks), wishes.nights, diary, console)
    except DemoFailed as error:
        console.print(f"[bold red]The soak ended early.[/] {error}", highlight=False)
    _write(folder / "soak.json", diary)
    _report(diary, time.monotonic() - began, console)
    return 0 if diary.nights == wishes.nights and not [*diary.growing(), *diary.twice] else 1


def _soak(scene: Scene, nights: int, diary: Diary, console: Console) -> None:
    with ExitStack() as running:
        socket = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="sky-"))) / "redis.sock"
        simulators = start_simulators(running.enter_context(Processes(scene.folder / "logs")), scene)
        services = running.enter_context(Services(scene.config, scene.folder / "logs", socket))
        scene.write_config(services.redis_url)
        services.migrate()
        services.start_redis()
        for name in services.names:
            services.start(name)
        for number in range(nights):
            tonight = replace(scene, days_ago=nights - number + 1)
            _play(tonight)
            _settle(tonight, simulators, services)
            diary.blocks += len(tonight.expected())
            _look(scene, services, diary)
            held = {name: round(seen[-1].pss_mb, 1) for name, seen in diary.holdings.items()}
            console.print(f"night {number + 1}: {diary.blocks} blocks; memory in MB {held}", highlight=False)
        kept = simulators.kept()
        diary.twice += sorted({name for name in kept if kept.count(name) > 1})


def _play(scene: Scene) -> None:
    """Let a night's frames fall onto the telescopes, as fast as they can be written."""
    for number, serial in enumerate(scene.serials):
        plan = TypeAdapter(NightPlan).validate_python({**scene.night(number), "speed": None})
        spec = TelescopeSpec(serial=serial, root=scene.root(serial), timezone=ZONE)
        progress = NightPlayer(make_night(plan, spec, WallClock(SystemClock(), ZONE).to_local)).play()
        if progress.error:
            raise DemoFailed(progress.error)


def _settle(scene: Scene, simulators: Simulators, services: Services) -> None:
    deadline = time.monotonic() + _NIGHT_WITHIN_S
    while not is_settled(scene, simulators):
        if ended := services.ended():
            raise DemoFailed(f"{', '.join(ended)} ended by itself")
        if time.monotonic() > deadline:
            raise DemoFailed(f"a night was not settled within {_NIGHT_WITHIN_S:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    time.sleep(_QUIET_S)


def _look(scene: Scene, services: Services, diary: Diary) -> None:
    for name in [*services.names, "redis"]:
        diary.holdings.setdefault(name, []).append(holding_of(services.pid_of(name)))
    database = scene.folder / "data" / "skyrelay.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as books:
        for (table,) in books.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            (number,) = books.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - its own name
            diary.rows.setdefault(table, []).append(number)


def _write(file: Path, diary: Diary) -> None:
    holdings = {name: [asdict(each) for each in seen] for name, seen in diary.holdings.items()}
    content = {"nights": diary.nights, "blocks": diary.blocks, "holdings": holdings, "rows": diary.rows}
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _report(diary: Diary, took_s: float, console: Console) -> None:
    if diary.nights:
        console.print(_of_processes(diary), _of_tables(diary))
    for line in diary.growing():
        console.print(f"[red]{line}[/]", highlight=False)
    for name in diary.twice:
        console.print(f"[red]{name} came twice[/]", highlight=False)
    console.print(
        f"[bold]{diary.nights} nights, {diary.blocks} blocks, twice {len(diary.twice)}.[/] "
        f"It took {took_s:.0f} s.",
        highlight=False,
    )


def _of_processes(diary: Diary) -> Table:
    late = min(_WARM_UP, diary.nights - 1)
    table = Table(title=f"Main processes: after night {late + 1}, and after the last")
    for heading in ("process", "PSS, MB", "last", "% a night", "files", "sockets", "threads"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for name, seen in diary.holdings.items():
        first, last, slope = seen[late], seen[-1], growth_percent([each.pss_mb for each in seen[late:]])
        counts = [
            f"{getattr(first, what)} → {getattr(last, what)}" for what in ("files", "sockets", "threads")
        ]
        table.add_row(name, f"{first.pss_mb:.1f}", f"{last.pss_mb:.1f}", f"{slope:+.2f}", *counts)
    return table


def _of_tables(diary: Diary) -> Table:
    table = Table(title="Rows of the tables that are not empty")
    for heading in ("table", "first night", "last", "a night"):
        table.add_column(heading, justify="left" if heading == "table" else "right")
    for name, counts in sorted(diary.rows.items()):
        if counts[-1]:
            growth = (counts[-1] - counts[0]) / max(len(counts) - 1, 1)
            table.add_row(name, str(counts[0]), str(counts[-1]), f"{growth:+.1f}")
    return table
