"""The uploader as the process it is, with a real broker, told and killed as in life."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from skyrelay.domain.states import DeliveryState
from skyrelay.queue.beats import Beat, read_beats
from skyrelay.queue.celery_app import build_celery, nudge
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import Nothing, Queue, StackMessage, TaskName
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay_simulators.crowdsky import Fault
from skyrelay_simulators.telescope.http_files import send_part
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually

from .conftest import PASSWORD, Home

_STOPS_WITHIN_S = 12.0  # eight seconds for what is under way, and some for a small machine


@pytest.fixture
def celery(redis_server: RedisServer) -> Iterator[Celery]:
    """Give what the other services nudge with."""
    app = build_celery(redis_server.url)
    yield app
    app.close()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with connect_redis(redis_server.url) as client:
        yield client


@pytest.fixture
def uploader(home: Home, redis_server: RedisServer) -> Iterator[ServiceProcess]:
    """Give the service, not started yet."""
    settings = home.configuration() | {"redis_url": redis_server.url}
    process = ServiceProcess("uploader", home.folder, settings)
    yield process
    process.kill()


def tick(celery: Celery, *tasks: TaskName) -> None:
    """Do what the scheduler does."""
    for task in tasks:
        nudge(celery, task, Nothing())


def becomes(home: Home, celery: Celery, stack_id: int, state: DeliveryState) -> None:
    """Tick until a delivery is in a state."""

    def check() -> bool:
        if home.delivery(stack_id).state == state:
            return True
        tick(celery, TaskName.RECONCILE_DELIVERIES)
        return False

    eventually(check, within_s=30.0, every_s=0.5)


def last_beat(redis: Redis) -> Beat | None:
    return read_beats(redis).get("uploader")


def test_a_stack_goes_all_the_way_and_the_worker_stops_when_told(
    home: Home, uploader: ServiceProcess, celery: Celery, redis: Redis
) -> None:
    stack_id = home.add_stack()
    uploader.start()

    nudge(celery, TaskName.FETCH_STACK, StackMessage(stack_id=stack_id))
    becomes(home, celery, stack_id, DeliveryState.CONFIRMED)
    tick(celery, TaskName.UPLOADER_CANARY)
    beat = eventually(lambda: last_beat(redis))

    assert len(home.crowdsky.uploads) == 1
    assert beat is not None
    idle = {"pending": 0, "to_be_listed": 0, "dead": 0, "to_fetch": 0, "quiet_until": None}
    open_ = {"paused": None, "cloud_paused": None, "archive_paused": None}
    assert beat.detail == {"state": "working"} | idle | open_
    uploader.tell(signal.SIGTERM)
    assert uploader.wait(_STOPS_WITHIN_S) == 0
    assert PASSWORD not in uploader.log()
    assert "Traceback" not in uploader.log()


def test_a_message_that_is_none_of_ours_is_dropped_and_the_next_is_read(
    uploader: ServiceProcess, celery: Celery, redis: Redis
) -> None:
    for payload in ({"version": 2, "stack_id": 1}, {"stack_id": "x"}, None):
        celery.send_task(TaskName.FETCH_STACK.value, args=[payload], queue=Queue.UPLOADER.value)
    celery.send_task("uploader.unheard_of", args=[{}], queue=Queue.UPLOADER.value)
    tick(celery, TaskName.UPLOADER_CANARY)

    uploader.start()

    eventually(lambda: last_beat(redis), within_s=30.0)
    assert eventually(lambda: uploader.log().count("none of ours: dropped") == 3)


def test_a_worker_killed_in_mid_send_makes_nothing_arrive_twice(
    home: Home, uploader: ServiceProcess, celery: Celery
) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="delay", seconds=60.0, times=1))
    uploader.start()
    nudge(celery, TaskName.FETCH_STACK, StackMessage(stack_id=stack_id))
    eventually(lambda: home.crowdsky.uploads, within_s=30.0)
    uploader.kill()
    assert home.delivery(stack_id).state == DeliveryState.SENDING

    home.work()
    assert home.delivery(stack_id).state == DeliveryState.SENDING, "its lease has not run out"
    # The next process finds the lease run out, as it does in life after two minutes.
    home.change(home.delivery(stack_id), lease_until=home.delivery(stack_id).sent_at)
    uploader.start()
    becomes(home, celery, stack_id, DeliveryState.CONFIRMED)

    assert len(home.crowdsky.uploads) == 1
    assert "a send was cut off" in uploader.log()
    steps = [entry.to_state for entry in home.audit("delivery")]
    assert steps == [DeliveryState.SENDING, DeliveryState.RETRYING, DeliveryState.CONFIRMED]


def test_a_worker_killed_in_mid_fetch_is_followed_by_one_that_resumes(
    home: Home, uploader: ServiceProcess, celery: Celery
) -> None:
    async def stall(writer: asyncio.StreamWriter, path: Path, start: int, length: int) -> None:
        await send_part(writer, path, start, length // 2)
        await asyncio.sleep(60)

    stack_id = home.add_stack(data=bytes(3_000_000))
    home.telescope.files.send_body = stall
    uploader.start()
    nudge(celery, TaskName.FETCH_STACK, StackMessage(stack_id=stack_id))
    part = home.folder / "data" / "archive" / ".arriving" / str(stack_id) / "stack.fit.part"
    eventually(lambda: part.exists() and part.stat().st_size > 1_000_000, within_s=30.0)
    uploader.kill()
    home.telescope.files.send_body = send_part

    home.work(after=timedelta(minutes=2))

    asked = [entry.params["range"] for entry in home.telescope.journal.entries(channel="http")]
    assert any(text and text.startswith("bytes=1") for text in asked)
    assert home.delivery(stack_id).state == DeliveryState.ACCEPTED
    assert home.crowdsky.uploads[0].file_size_bytes == home.stack(stack_id).size_bytes


def test_a_transfer_that_hangs_does_not_hold_up_the_stop_nor_the_canary(
    home: Home, uploader: ServiceProcess, celery: Celery, redis: Redis
) -> None:
    for number in range(4):
        home.add_stack(number)
    home.crowdsky.show("upload_stack", Fault(mode="delay", seconds=60.0))
    uploader.start()
    tick(celery, TaskName.RECONCILE_DELIVERIES)
    eventually(lambda: len(home.crowdsky.uploads) == 2, within_s=30.0)

    tick(celery, *[TaskName.RECONCILE_DELIVERIES] * 5, TaskName.UPLOADER_CANARY)
    eventually(lambda: last_beat(redis))
    uploader.tell(signal.SIGTERM)

    assert uploader.wait(_STOPS_WITHIN_S) == 0
    assert len(home.crowdsky.uploads) == 2, "two at a time"


def test_it_waits_for_a_database_that_is_not_migrated_yet(
    home: Home, uploader: ServiceProcess, celery: Celery, redis: Redis
) -> None:
    home.store.close()
    database = home.folder / "skyrelay.db"
    for file in home.folder.glob("skyrelay.db*"):
        file.unlink()
    uploader.start()
    eventually(lambda: "waiting for the database" in uploader.log())

    store = Store(f"sqlite:///{database}")
    migrate(store)
    store.close()

    tick(celery, TaskName.UPLOADER_CANARY)
    eventually(lambda: last_beat(redis), within_s=30.0)
    assert uploader.log().count("waiting for the database") == 1


def test_it_stops_while_it_waits_for_its_database(home: Home, uploader: ServiceProcess) -> None:
    home.store.close()
    for file in home.folder.glob("skyrelay.db*"):
        file.unlink()
    uploader.start()
    eventually(lambda: "waiting for the database" in uploader.log())

    uploader.tell(signal.SIGTERM)

    assert uploader.wait(_STOPS_WITHIN_S) == 0


def test_it_stops_while_redis_is_away(
    home: Home, uploader: ServiceProcess, redis_server: RedisServer
) -> None:
    redis_server.stop()
    uploader.start()
    eventually(lambda: "Cannot connect" in uploader.log() or "Trying again" in uploader.log())

    uploader.tell(signal.SIGTERM)

    assert uploader.wait(_STOPS_WITHIN_S) == 0


def test_it_consumes_again_after_redis_was_restarted(
    home: Home, uploader: ServiceProcess, celery: Celery, redis: Redis, redis_server: RedisServer
) -> None:
    uploader.start()
    tick(celery, TaskName.UPLOADER_CANARY)
    eventually(lambda: last_beat(redis), within_s=30.0)

    redis_server.stop()
    redis_server.start()
    stack_id = home.add_stack()

    becomes(home, celery, stack_id, DeliveryState.CONFIRMED)


def test_before_the_set_up_is_done_it_says_so_and_does_nothing(
    home: Home, redis_server: RedisServer, celery: Celery, redis: Redis
) -> None:
    home.add_stack()
    settings = home.configuration() | {"redis_url": redis_server.url, "setup": "ask"}
    with ServiceProcess("uploader", home.folder, settings):
        tick(celery, TaskName.RECONCILE_DELIVERIES, TaskName.UPLOADER_CANARY)
        beat = eventually(lambda: last_beat(redis), within_s=30.0)

    assert beat is not None
    assert (beat.detail["state"], beat.detail["to_fetch"]) == ("waiting for set-up", 1)
    assert home.telescope.journal.entries() == []
