"""The stacker as the processes it is: intake, worker and scheduler, killed, stopped and told to wait."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.queue.beats import Beat, read_beats
from skyrelay.queue.celery_app import nudge
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.frame_stream import publish
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.store.tables import Block, Stack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.service_process import ServiceProcess
from support.telescopes import SERIAL, MakeTelescope, asked, stacks_on, take_frames
from support.waiting import eventually
from support.workshop import STACKING, Home, seen

NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
LONG = 40.0  # seconds that a stack takes which is not to end before its test has seen it

Service = Callable[..., ServiceProcess]


@pytest.fixture
def service(home: Home, tmp_path: Path) -> Service:
    """Give a function that makes a service of the home's configuration."""

    def make(name: str, **changes: Any) -> ServiceProcess:
        telescopes = [telescope.model_dump(mode="json") for telescope in home.settings.telescopes]
        settings: dict[str, Any] = {
            "setup": "done",
            "telescopes": telescopes,
            "stacking": STACKING,
            "scheduler": {"reconcile_s": 0.5, "inventory_s": 0.5},
            "redis_url": home.redis.url,
            "database_url": str(home.store.engine.url),
            "data_dir": str(tmp_path / "data"),
        }
        return ServiceProcess(name, tmp_path / "services", {**settings, **changes})

    return make


def beat_of(home: Home, name: str) -> Beat | None:
    """Give the last sign of life of a service."""
    with connect_redis(home.redis.url) as redis:
        return read_beats(redis).get(name)


def children_of(pid: int) -> list[int]:
    """Give the ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def kill_with_children(worker: ServiceProcess) -> None:
    """End a worker and its children as a power cut does: all at once, none forked meanwhile."""
    worker.tell(signal.SIGSTOP)
    children = children_of(worker.pid)
    worker.kill()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def is_under_way(home: Home, telescope: SimulatedTelescope) -> bool:
    """Tell whether a worker watches a block's run."""
    return telescope.stacking and home.telescope().state == TelescopeState.STACKING


def test_frames_that_were_announced_become_a_named_stack(
    home: Home, make_telescope: MakeTelescope, service: Service
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    names = take_frames(telescope)
    home.own(telescope, serial=SERIAL)
    telescope.observe("M 81")
    with service("stacker") as worker, service("scheduler") as scheduler:
        with connect_redis(home.redis.url) as redis:
            publish(redis, [seen(telescope, name) for name in names])
        eventually(lambda: len(home.frames) == 5)
        eventually(lambda: home.telescope().state == TelescopeState.OBSERVING)
        assert home.block().state == BlockState.COLLECTING
        telescope.finish_observing()
        eventually(lambda: home.block().state == BlockState.STACKED, 30)
        eventually(lambda: stacks_on(telescope) == [NAMED])
        assert home.frame_states() == {FrameState.OK}
        assert {frame.seen_by for frame in home.frames} == {"watcher"}
        for name in ("intake", "stacker", "scheduler"):
            eventually(lambda name=name: beat_of(home, name))  # type: ignore[misc] # mypy cannot infer it
        for process in (scheduler, worker):
            process.tell(signal.SIGTERM)
        assert scheduler.wait(60) == 0
        assert worker.wait(60) == 0
    assert asked(telescope, "start_batch_stack") == 1


def test_a_worker_that_is_killed_in_mid_stack_is_followed_by_one_that_adopts_the_run(
    home: Home, make_telescope: MakeTelescope, service: Service
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    take_frames(telescope, frames=20)
    home.own(telescope)
    home.look()
    home.reconcile()

    def is_stacked_when_said_again() -> bool:
        home.reconcile()  # Redis may hand a message to a worker that it does not know to be dead
        return bool(home.block().state == BlockState.STACKED)

    with service("stacker") as worker:
        eventually(lambda: is_under_way(home, telescope))
        kill_with_children(worker)
        assert telescope.stacking
        home.let_leases_expire()
        worker.start()
        telescope.device.batch_stack.stack_seconds = 0.0
        eventually(is_stacked_when_said_again, within_s=60, every_s=0.5)
        worker.tell(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert asked(telescope, "start_batch_stack") == 1
    assert len(home.rows(Stack)) == 1


def test_a_worker_that_is_told_to_stop_in_mid_stack_leaves_soon_and_the_run_goes_on(
    home: Home, make_telescope: MakeTelescope, service: Service
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    take_frames(telescope, frames=20)
    home.own(telescope)
    home.look()
    home.reconcile()
    with service("stacker") as worker:
        eventually(lambda: is_under_way(home, telescope))
        worker.tell(signal.SIGTERM)
        assert worker.wait(12) == 0
    assert telescope.stacking
    assert home.block().state == BlockState.STACKING
    assert home.telescope().lease_until is None, "it was given free"
    assert asked(telescope, "stop_batch_stack") == 0
    with home.in_background() as next_worker:
        eventually(lambda: home.telescope().lease_until is not None)
        telescope.device.batch_stack.cancel()
        next_worker.join(20)
    assert home.block().reason == "interrupt", "the next one watched this very run"
    assert asked(telescope, "start_batch_stack") == 1


def test_before_the_set_up_is_done_the_services_wait_and_nothing_is_asked_of_a_telescope(
    home: Home, make_telescope: MakeTelescope, service: Service
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope)
    with service("stacker", setup="ask"), service("scheduler", setup="ask"):
        beat = eventually(lambda: beat_of(home, "stacker"))
        assert beat.detail == {"state": "waiting for set-up"}
        first = beat.at
        for task in (TaskName.RECONCILE_STACKING, TaskName.STACKER_CANARY):  # taken in this order
            nudge(home.workshop.celery, task, Nothing())
        eventually(lambda: (seen := beat_of(home, "stacker")) is not None and seen.at > first)
    assert telescope.journal.entries() == []
    assert home.rows(Block) == []


def start_again_if_ended(process: ServiceProcess) -> None:
    """Start a service again that has ended, as whoever runs the services does."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.0)
        process.start()


def test_a_broker_that_is_wiped_in_mid_stack_costs_nothing(
    home: Home, make_telescope: MakeTelescope, service: Service
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    take_frames(telescope, frames=20)
    take_frames(telescope, "M 31")
    home.own(telescope)

    def all_are_stacked() -> bool:
        start_again_if_ended(worker)
        start_again_if_ended(scheduler)
        return {block.state for block in home.rows(Block)} == {BlockState.STACKED}

    with service("stacker") as worker, service("scheduler") as scheduler:
        eventually(lambda: is_under_way(home, telescope), 30)
        home.redis.stop()
        home.redis.start()
        telescope.device.batch_stack.stack_seconds = 0.1
        eventually(all_are_stacked, 60)
    assert asked(telescope, "start_batch_stack") == 2
    assert len(home.rows(Stack)) == 2


@pytest.mark.parametrize("name", ["stacker", "scheduler"])
def test_a_service_waits_for_its_database_and_can_be_told_to_stop_meanwhile(
    service: Service, tmp_path: Path, name: str
) -> None:
    with service(name, database_url=f"sqlite:///{tmp_path / 'empty.db'}") as process:
        eventually(lambda: "waiting for the database" in process.log())
        process.tell(signal.SIGTERM)
        assert process.wait(60) == 0


def has_open(pid: int, file: Path) -> bool:
    """Tell whether a process has a file open."""
    opened = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            opened.append(link.readlink())
    return file in opened


def test_a_worker_that_is_told_to_stop_before_it_works_stops(home: Home, service: Service) -> None:
    database = home.store.engine.url.database
    assert database is not None
    with home.store.write() as session, service("stacker") as worker:
        session.execute(update(Telescope).values(smb_share="auto"))  # the worker waits for its turn to write
        eventually(lambda: has_open(worker.pid, Path(database)))
        worker.tell(signal.SIGTERM)
        session.commit()
        assert worker.wait(20) == 0
