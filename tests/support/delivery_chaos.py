"""Deliveries under everything that can go wrong: ``python -m support.delivery_chaos`` (from ``tests``).

A CrowdSky server and a node cloud fail three requests of ten in every way that they know, lose answers
after they have stored what came, and are away for an hour; the uploader is killed again and again while it
fetches stacks and raw frames from a telescope and sends them and a backlog of measurements. In the end each
server must hold everything exactly once, whole to the byte. Servers, telescope, Redis, database and uploader
are real processes and sockets; only the uploader's clock runs faster, so that hours of waiting fit into
minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import yaml
from celery import Celery
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.cloud.client import CloudClient
from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState
from skyrelay.fits_header import without_location
from skyrelay.outbox.measurements import FIRST_TRY, enqueue_measurement
from skyrelay.outbox.raw_route import frames_for_raw, send_raw
from skyrelay.queue.celery_app import build_celery, nudge
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Delivery, Destination, Stack, Telescope
from skyrelay.store.transitions import StaleState, move_delivery
from skyrelay_simulators.cloud import SimulatedCloud
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from skyrelay_simulators.crowdsky.stacking import stack_raw_frames
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec
from support.fast_uploader import FastClock
from support.fits_files import fits_bytes
from support.node_cloud import CARD, payload
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

PASSWORD = "s3cret-päss"
JPEG = b"\xff\xd8\xff\xe0 a small picture \xff\xd9"
EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
TICK_S = 0.25

# Ways to fail, with their weights. The last ones of each list end an item or an account until a person
# comes; one does, at each tick.
OF_BOTH: Sequence[tuple[float, dict[str, Any]]] = (
    (2, {"mode": "status", "status": 500, "body": "<html><title>oops</title></html>"}),
    (2, {"mode": "status", "status": 502}),
    (2, {"mode": "status", "status": 503, "retry_after": 45}),
    (1, {"mode": "status", "status": 429, "retry_after": 20}),
    (1, {"mode": "status", "status": 504}),
    (2, {"mode": "html-200"}),
    (2, {"mode": "reset", "after_bytes": 0}),
    (2, {"mode": "reset", "after_bytes": 300}),
    (1, {"mode": "reset", "after_bytes": -1}),
    (4, {"mode": "drop-after-store"}),
    (1, {"mode": "delay", "seconds": 0.3}),
    (0.4, {"mode": "status", "status": 401}),
    (0.6, {"mode": "status", "status": 422, "body": {"error": "Not today."}}),
)
OF_CROWDSKY = (
    *OF_BOTH,
    (1, {"mode": "error-200", "body": {"error": "Temporarily unavailable, try again later."}}),
    (0.4, {"mode": "error-200", "body": {"error": "Storage quota exceeded."}}),
)
# A refused frame is left out and named, as it should be: then the server would rightly have less.
OF_RAW_FRAMES = tuple(way for way in OF_CROWDSKY if way[1].get("status") != 422)
GOOD: dict[str, Any] = {"mode": "delay", "seconds": 0.0}


@dataclass(frozen=True)
class Plan:
    """How much of it.

    Attributes
    ----------
    raw_blocks, raw_frames
        Blocks that go by the raw route, and the frames of each.
    away
        How long both servers are away, by the uploader's clock.
    speed
        Of that clock.
    """

    stacks: int = 200
    measurements: int = 2000
    raw_blocks: int = 20
    raw_frames: int = 4
    kills: int = 10
    failing: float = 0.3
    away: timedelta = timedelta(hours=1)
    speed: float = 120.0
    stack_bytes: int = 200_000
    within_s: float = 3600.0
    seed: int = 1

    @property
    def deliveries(self) -> int:
        """How much is owed."""
        return self.stacks + self.raw_blocks + self.measurements


@dataclass
class Report:
    """What happened."""

    kills: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    by_hand: int = 0
    lasted_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Home:
    """A home, its servers, and the uploader that is killed."""

    def __init__(self, folder: Path, plan: Plan, running: ExitStack) -> None:
        self.folder, self.plan, self.random = folder, plan, random.Random(plan.seed)  # noqa: S311 - dice
        self.clock = FastClock(utc_now(), plan.speed)
        self.redis = running.enter_context(_redis())
        spec = TelescopeSpec(serial="1d3fe189", root=folder / "emmc", smb_backend=SmbBackend.OFF)
        self.telescope = running.enter_context(SimulatedTelescope(spec))
        self.crowdsky = running.enter_context(
            SimulatedCrowdSky(folder / "crowdsky", {"alice": PASSWORD}, processing_delay_s=0.3)
        )
        self.cloud = running.enter_context(SimulatedCloud(folder / "cloud"))
        self.store = Store(f"sqlite:///{folder / 'skyrelay.db'}")
        running.callback(self.store.close)
        migrate(self.store)
        self.celery: Celery = build_celery(self.redis.url)
        running.callback(self.celery.close)
        self.uploader = Uploader(folder, self._configuration(), self.clock)
        running.callback(self.uploader.kill)
        self.laid: dict[str, bytes] = {}
        self.raw: dict[datetime, list[Path]] = {}

    def _configuration(self) -> dict[str, Any]:
        with CloudClient(self.cloud.base_url) as client:
            node = client.register(CARD).credentials
        at = self.telescope.endpoint
        garden = {"name": "garden", "host": at.host, "rpc_port": at.rpc_port, "http_port": at.http_port}
        return {
            "setup": "done",
            "telescopes": [garden],
            "data_dir": str(self.folder / "data"),
            "database_url": f"sqlite:///{self.folder / 'skyrelay.db'}",
            "redis_url": self.redis.url,
            "crowdsky": {
                "base_url": self.crowdsky.base_url,
                "username": "alice",
                "password": PASSWORD,
                "confirm_s": 30.0,
                "confirm_after_h": 0.5,
            },
            "cloud": {
                "enabled": True,
                "url": self.cloud.base_url,
                "node_id": node.node_id,
                "api_key": node.api_key.get_secret_value(),
            },
        }

    def owe(self) -> None:
        """Lay the stacks on the telescope, and owe them and the measurements."""
        with self.store.write() as session:
            night, at = RecordedNight(session), self.telescope.endpoint
            garden = night.telescope(
                serial="1d3fe189", host=at.host, http_port=at.http_port, rpc_port=at.rpc_port
            )
            for number in range(self.plan.stacks):
                self._lay(night, garden, number)
            for number in range(self.plan.raw_blocks):
                self._lay_raw(session, night, garden, number)
        for number in range(self.plan.measurements):
            # Of one in ten, whoever submitted it died over its own first try.
            lease = FIRST_TRY if number % 10 == 0 else None
            with self.store.write() as session:
                enqueue_measurement(
                    session, payload(number), now=self.clock(), actor="cloud-agent", first_try=lease
                )

    def _lay(self, night: RecordedNight, telescope: Telescope, number: int) -> None:
        start = EVENING + timedelta(minutes=15 * number)
        stack: Stack = night.stack(night.block(telescope, "M 94", start, BlockState.STACKED, frames=2))
        data = self.random.randbytes(self.plan.stack_bytes + 2 * self.random.randrange(5000))
        stamp = stack.first_start_at.astimezone(UTC).replace(tzinfo=None).isoformat()
        place = {"SITELAT": 48.2, "SITELONG": 16.4}
        content = fits_bytes(data, DATE_OBS=stamp, OBJECT="M 94", NAXIS1=len(data) // 2, NAXIS2=1, **place)
        stack.fetched_at, stack.size_bytes = None, len(content)
        night.delivery(stack, DeliveryState.PENDING)
        folder = self.telescope.emmc.target_folder(stack.folder)
        (folder / stack.crowdsky_name).write_bytes(content)
        (folder / f"{Path(stack.crowdsky_name).stem}_thn.jpg").write_bytes(JPEG)
        self.laid[stack.crowdsky_name] = content

    def _lay_raw(self, session: Session, night: RecordedNight, telescope: Telescope, number: int) -> None:
        start = EVENING + timedelta(minutes=15 * (self.plan.stacks + number))
        block = night.block(telescope, "M 94", start, BlockState.READY, frames=self.plan.raw_frames)
        frames, folder = frames_for_raw(session, block), self.telescope.emmc.target_folder("M 94_sub")
        folder.mkdir(exist_ok=True)
        self.raw[block.start_at] = [folder / frame.file_name for frame in frames]
        for frame, path in zip(frames, self.raw[block.start_at], strict=True):
            data = bytes(self.random.randrange(128) for _ in range(self.plan.stack_bytes // 40 * 2))
            stamp = (frame.start_at or block.start_at).replace(tzinfo=None).isoformat()
            path.write_bytes(fits_bytes(data, DATE_OBS=stamp, TOTALEXP=None, NAXIS1=len(data) // 2, NAXIS2=1))
            frame.size_bytes, frame.inventoried_at = path.stat().st_size, block.start_at
        send_raw(session, block, frames, now=self.clock(), actor="stacker", reason="crowdsky.route: raw")

    def break_servers(self) -> None:
        """Have three requests of ten fail, each in one way or the other, from now on."""
        expected = 12 * max(self.plan.stacks, self.plan.measurements) + 1000
        for endpoint in ("upload_stack", "my_stacks"):
            self.crowdsky.show(endpoint, *self._faults(OF_CROWDSKY, expected))
        for endpoint in ("raw_start", "raw_finalize"):
            self.crowdsky.show(endpoint, *self._faults(OF_CROWDSKY, expected))
        self.crowdsky.show("raw_file", *self._faults(OF_RAW_FRAMES, expected))
        self.cloud.show("measurements", *self._faults(OF_BOTH, expected))

    def _faults(self, ways: Sequence[tuple[float, dict[str, Any]]], number: int) -> Iterator[Fault]:
        weights = [weight for weight, _ in ways]
        for _ in range(number):
            is_bad = self.random.random() < self.plan.failing
            way = self.random.choices([way for _, way in ways], weights)[0] if is_bad else GOOD
            yield Fault(times=1, **way)

    def tick(self) -> int:
        """Do what the scheduler does, and what a person would; give how much the person did."""
        for task in (TaskName.RECONCILE_DELIVERIES, TaskName.CONFIRM_DELIVERIES):
            nudge(self.celery, task, Nothing())
        time.sleep(TICK_S)
        return self._help_by_hand()

    def _help_by_hand(self) -> int:
        with self.store.read() as session:
            dead = select(Delivery.id).where(Delivery.state == DeliveryState.DEAD)
            paused = select(Destination.name).where(Destination.paused_reason.is_not(None))
            ids, names = list(session.scalars(dead)), list(session.scalars(paused))
        if not ids and not names:
            return 0
        with self.store.write() as session:
            for id_ in ids:
                self._revive(session.get_one(Delivery, id_), session)
            for name in names:
                row = session.get_one(Destination, name)
                row.paused_reason = row.paused_at = row.next_probe_at = None
        return len(ids) + len(names)

    def _revive(self, delivery: Delivery, session: Any) -> None:
        again = {"next_attempt_at": self.clock(), "needs_you": False}
        try:
            move_delivery(session, delivery, DeliveryState.PENDING, now=self.clock(), actor="person", **again)
        except (StaleState, ValueError):
            return  # it is no longer dead

    def confirmed(self) -> int:
        """Count what has arrived."""
        with self.store.read() as session:
            query = select(func.count()).where(Delivery.state == DeliveryState.CONFIRMED)
            return session.scalar(query) or 0

    def states(self) -> dict[str, int]:
        """Count the deliveries by kind and state."""
        with self.store.read() as session:
            query = select(Delivery.kind, Delivery.state, func.count()).group_by(
                Delivery.kind, Delivery.state
            )
            return {f"{kind} {state}": number for kind, state, number in session.execute(query)}

    def wrong(self) -> Iterator[str]:
        """Name everything that is not on the servers exactly once and whole."""
        uploads = [stack for stack in self.crowdsky.uploads if stack.file_name in self.laid]
        yield from self._wrong_raw()
        names = Counter(stack.file_name for stack in uploads)
        for name in self.laid:
            if names[name] != 1:
                yield f"{name} is on CrowdSky {names[name]} times"
        for stack in uploads:
            wanted = without_location(self.laid[stack.file_name])
            if self.crowdsky.stored_bytes(stack) != wanted:
                yield f"{stack.file_name} is not on CrowdSky as it was sent"
        found = Counter(stored.measurement["bjd"] for stored in self.cloud.measurements)
        wanted_times = {2460761.5 + number / 1000 for number in range(self.plan.measurements)}
        if set(found) != wanted_times or found.total() != len(wanted_times):
            yield f"the cloud has {found.total()} measurements of {len(wanted_times)}"
        with self.store.read() as session:
            kinds = dict(session.execute(select(Delivery.kind, func.count()).group_by(Delivery.kind)).all())
        owed = {
            DeliveryKind.STACK: self.plan.stacks,
            DeliveryKind.RAW: self.plan.raw_blocks,
            DeliveryKind.MEASUREMENT: self.plan.measurements,
        }
        if kinds != {kind: number for kind, number in owed.items() if number}:
            yield f"the books owe something else than what was put in: {kinds}"

    def _wrong_raw(self) -> Iterator[str]:
        """Name the blocks of which the server has not made exactly one stack, of exactly their frames."""
        made = [stack for stack in self.crowdsky.uploads if stack.file_name not in self.laid]
        if len(made) != self.plan.raw_blocks:
            yield f"CrowdSky has made {len(made)} stacks of the raw frames of {self.plan.raw_blocks} blocks"
        found = {stack.date_obs_start: stack for stack in made}
        for start, paths in self.raw.items():
            stack = found.get(f"{start:%Y-%m-%d %H:%M:%S}")
            scrubbed = [self._scrubbed(path) for path in paths]
            if stack is None or self.crowdsky.stored_bytes(stack) != stack_raw_frames(scrubbed).read():
                yield f"the raw frames of {start} are not stacked as they were taken"

    def _scrubbed(self, path: Path) -> Path:
        copy = self.folder / f"scrubbed-{path.name}"
        copy.write_bytes(without_location(path.read_bytes()))
        return copy


class Uploader:
    """The uploader's process."""

    def __init__(self, folder: Path, configuration: dict[str, Any], clock: FastClock) -> None:
        self._config, self._log = folder / "uploader.yaml", folder / "uploader.log"
        self._config.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it (again)."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
        environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        options = ["--config", str(self._config), "--since", self._clock.since.isoformat()]
        command = [sys.executable, "-m", "support.fast_uploader", *options, "--speed", str(self._clock.speed)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        return self

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def has_ended(self) -> bool:
        """Tell whether it ended by itself, which it must not."""
        return self._process is not None and self._process.poll() is not None

    def log(self) -> str:
        """Give what it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")


def play(folder: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> Report:
    """Let everything go wrong, wait until nothing is owed any more, and say what is not as it should be."""
    report, began = Report(), time.monotonic()
    with ExitStack() as running:
        home = Home(folder, plan, running)
        home.owe()
        home.break_servers()
        home.uploader.start()
        for number in range(plan.kills):
            _let_work(home, report, began)
            home.uploader.kill()
            report.kills += 1
            say(f"killed {report.kills} times: {home.states()}")
            home.uploader.start()
            if number == plan.kills // 2:
                _stay_away(home, report)
                say(f"the servers were away for {plan.away}: {home.states()}")
        _wait_for_all(home, report, began, say)
        report.wrong += home.wrong()
        _count_requests(home, report)
    report.lasted_s = time.monotonic() - began
    return report


def _let_work(home: Home, report: Report, began: float) -> None:
    """Let the uploader get something done, and go on for a moment, so that the kill hits it at work."""
    before = home.confirmed()
    while home.confirmed() == before and not _is_over(home, report, began):
        report.by_hand += home.tick()
    time.sleep(home.random.uniform(0.0, 0.8))


def _stay_away(home: Home, report: Report) -> None:
    home.crowdsky.stop()
    home.cloud.stop()
    back_at = time.monotonic() + home.clock.real(home.plan.away)
    while time.monotonic() < back_at:
        report.by_hand += home.tick()
    home.crowdsky.start()
    home.cloud.start()


def _wait_for_all(home: Home, report: Report, began: float, say: Callable[[str], None]) -> None:
    said_at = time.monotonic()
    while home.confirmed() < home.plan.deliveries and not _is_over(home, report, began):
        report.by_hand += home.tick()
        if time.monotonic() - said_at > 15:
            said_at = time.monotonic()
            say(f"{home.states()}")


def _is_over(home: Home, report: Report, began: float) -> bool:
    if home.uploader.has_ended():
        raise AssertionError(f"the uploader ended by itself:\n{home.uploader.log()[-4000:]}")
    if time.monotonic() - began > home.plan.within_s:
        raise AssertionError(f"still owed after {home.plan.within_s} s: {home.states()}")
    return home.confirmed() >= home.plan.deliveries


def _count_requests(home: Home, report: Report) -> None:
    for server in (home.crowdsky, home.cloud):
        for entry in server.requests():
            report.requests[entry.endpoint] += 1
            if entry.fault and entry.fault != "delay":
                report.faults[f"{entry.endpoint}: {entry.fault}"] += 1


@contextmanager
def _redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="skyrelay-redis-") as folder:  # short: socket paths end at 108
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


def main() -> int:
    """Play it in full; exit code 0 only when everything arrived exactly once and whole."""
    full = Plan()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stacks", type=int, default=full.stacks)
    parser.add_argument("--measurements", type=int, default=full.measurements)
    parser.add_argument("--raw-blocks", type=int, default=full.raw_blocks)
    parser.add_argument("--kills", type=int, default=full.kills)
    parser.add_argument("--speed", type=float, default=full.speed)
    parser.add_argument("--seed", type=int, default=full.seed)
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="skyrelay-chaos-") as folder:
        report = play(Path(folder), plan, lambda line: print(line, flush=True))  # noqa: T201 - a program
    _print(plan, report)
    return 1 if report.wrong else 0


def _print(plan: Plan, report: Report) -> None:
    owed = f"{plan.stacks} stacks, {plan.raw_blocks} blocks raw and {plan.measurements} measurements"
    lines = [
        f"{owed}, {report.kills} kills, {report.by_hand} helped by hand, {report.lasted_s:.0f} s",
        *(f"  {number:6} requests to {endpoint}" for endpoint, number in report.requests.most_common()),
        *(f"  {number:6} failed: {fault}" for fault, number in report.faults.most_common()),
        *(report.wrong or ["On the servers: everything exactly once, and whole."]),
    ]
    print("\n".join(lines))  # noqa: T201 - a program


if __name__ == "__main__":
    sys.exit(main())
