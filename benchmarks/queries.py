"""How many statements and commits a block costs, from its listing to the server's acceptance.

One simulated telescope with a night of some blocks; the use cases of stacker and uploader, in this process,
on SQLite. Statements and commits are counted as SQLAlchemy sends them, for each part of the work: the same in
each run, so ``--quick`` and ``--repeats`` change nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from common import Report, options_of
from sqlalchemy import event, func, select

from skyrelay.domain.states import DeliveryState
from skyrelay.settings import Settings, load_settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Delivery, Stack
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, TelescopeSpec
from skyrelay_uploader.delivering import deliver
from skyrelay_uploader.due import due_deliveries, due_fetches
from skyrelay_uploader.fetching import fetch_stack
from skyrelay_uploader.workshop import Workshop
from support.redis_server import RedisServer
from support.workshop import Home

BLOCKS, FRAMES_EACH = 8, 40
_SERIAL = "1d3fe189"
_PASSWORD = "s3cret"  # noqa: S105 - of a simulated account


@dataclass
class Counter:
    """What was sent to the database."""

    statements: int = 0
    commits: int = 0

    def attach(self, store: Store) -> None:
        """Begin to count."""
        event.listen(store.engine, "before_cursor_execute", self._statement)
        event.listen(store.engine, "commit", self._commit)

    def _statement(self, *_: object) -> None:
        self.statements += 1

    def _commit(self, *_: object) -> None:
        self.commits += 1


def main() -> None:
    """Measure and print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    report = Report("queries", options_of(__doc__))
    with tempfile.TemporaryDirectory(prefix="sky-") as folder, ExitStack() as running:
        for part, statements, commits in measure(Path(folder), running):
            what = f"{part} ({BLOCKS} blocks of {FRAMES_EACH} frames)"
            report.add(f"statements: {what}", statements / BLOCKS, unit="a block")
            report.add(f"commits: {what}", commits / BLOCKS, unit="a block")
    report.close()


def measure(folder: Path, running: ExitStack) -> list[tuple[str, int, int]]:
    """Give each part of the work, with its statements and commits."""
    # A telescope names a stack after the second in which it is done: no two in the same one.
    spec = TelescopeSpec(serial=_SERIAL, root=folder / "emmc", stack_seconds=1.1)
    telescope = running.enter_context(SimulatedTelescope(spec))
    crowdsky = running.enter_context(SimulatedCrowdSky(folder / "crowdsky", {"alice": _PASSWORD}))
    redis = RedisServer(folder)
    redis.start()
    running.callback(redis.stop)
    store = Store(f"sqlite:///{folder / 'skyrelay.db'}")
    running.callback(store.close)
    migrate(store)
    home = Home(store, redis, _settings(folder, redis, crowdsky)).own(telescope)
    _observe(spec, telescope)
    counter, figures = Counter(), list[tuple[str, int, int]]()
    counter.attach(store)
    for part, do in (
        ("listing, planning, stacking, renaming", home.work),
        ("fetching into the archive", lambda: _fetch(home)),
        ("delivering", lambda: _deliver(home)),
    ):
        figures.append((part, *_counted(counter, do)))
    _check(store)
    return [*figures, ("all", sum(each[1] for each in figures), sum(each[2] for each in figures))]


def _settings(folder: Path, redis: RedisServer, crowdsky: SimulatedCrowdSky) -> Settings:
    account = {"base_url": crowdsky.base_url, "username": "alice", "password": _PASSWORD}
    ours = {
        "setup": "done",
        "data_dir": str(folder / "data"),
        "redis_url": redis.url,
        "stacking": {"min_exptime": 0.0, "idle_s": 0.0, "grace_s": 0.0},
        "crowdsky": account,
    }
    return Settings.model_validate({**load_settings(None, {}).model_dump(), **ours})


def _observe(spec: TelescopeSpec, telescope: SimulatedTelescope) -> None:
    day = datetime.now(UTC) - timedelta(days=2)
    start = day.replace(hour=20, minute=0, second=20, microsecond=0)
    exposure_s = 15 * 60 / FRAMES_EACH
    plan = TargetPlan(
        target="M 81",
        ra_deg=148.9,
        dec_deg=69.07,
        start=start,
        frames=BLOCKS * FRAMES_EACH,
        exposure_s=exposure_s - 2.5,
        cadence_s=exposure_s,
        filter="LP",
    )
    night = make_night(NightPlan(targets=(plan,), width=54, height=96), spec, telescope.wall_clock.to_local)
    NightPlayer(night, telescope).play()


def _counted(counter: Counter, do: Callable[[], object]) -> tuple[int, int]:
    counter.statements = counter.commits = 0
    do()
    return counter.statements, counter.commits


def _fetch(home: Home) -> None:
    workshop = _uploader(home)
    with home.store.read() as session:
        due = due_fetches(session, workshop.clock(), most=1000)
    for stack_id in due:
        fetch_stack(workshop, stack_id)


def _deliver(home: Home) -> None:
    workshop = _uploader(home)
    with home.store.read() as session:
        due = due_deliveries(session, workshop.clock(), most=1000)
    for delivery_id in due:
        deliver(workshop, delivery_id)


def _uploader(home: Home) -> Workshop:
    return Workshop(home.settings, home.store, lambda _task, _message: None)


def _check(store: Store) -> None:
    with store.read() as session:
        stacks = session.scalar(select(func.count()).select_from(Stack))
        accepted = select(func.count()).where(Delivery.state == DeliveryState.ACCEPTED)
        if (stacks, session.scalar(accepted)) != (BLOCKS, BLOCKS):
            raise SystemExit(f"{stacks} stacks of {BLOCKS} blocks, not all delivered")


if __name__ == "__main__":
    main()
