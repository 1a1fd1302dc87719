"""The intake at a real stream: everything recorded, nothing acknowledged before it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from skyrelay.domain.states import FrameState
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import STREAM, Intake, publish
from skyrelay_stacker.intake import run
from support.waiting import eventually
from support.workshop import Home, half

STARTED = datetime(2025, 3, 27, 1, 20, 32, 955368, tzinfo=UTC)


def event(number: int = 0, **changes: Any) -> FrameEvent:
    """Give the event of the n-th frame of a night."""
    started = STARTED + timedelta(seconds=12 * number)
    saved_local = started + timedelta(hours=-4, seconds=13.35)
    usual: dict[str, Any] = {
        "root": "/photos",
        "path": f"M 94_sub/Light_M 94_10.0s_IRCUT_{saved_local:%Y%m%d-%H%M%S}.fit",
        "size_bytes": 4_152_960,
        "modified_at": started,
        "header": {"DATE-OBS": f"{started:%Y-%m-%dT%H:%M:%S.%f}", "TELESCOP": "S50_1d3fe189"},
        "seen_at": started,
    }
    return FrameEvent(**{**usual, **changes})


@pytest.fixture
def stream(home: Home) -> Iterator[Redis]:
    """Give a client of the home's Redis."""
    with connect_redis(home.redis.url) as redis:
        yield redis


@contextmanager
def running_intake(home: Home, **options: Any) -> Iterator[None]:
    """Run the intake while the context lasts."""
    stop = threading.Event()
    settings = home.settings.model_copy(update={"redis_url": _secret(home.redis.url)})
    thread = threading.Thread(target=run, args=(settings, home.store, stop), kwargs=options)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def taking_in(home: Home) -> Iterator[None]:
    """Run the intake while the test does."""
    with running_intake(home):
        yield


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


@pytest.mark.usefixtures("taking_in")
def test_events_are_recorded_and_the_stream_is_emptied_of_them(home: Home, stream: Redis) -> None:
    publish(stream, [event(number) for number in range(40)])
    eventually(lambda: len(home.frames) == 40)
    eventually(lambda: stream.xlen(STREAM) == 0)
    assert sum(block.frame_count for block in home.rows(type(home.block()))) == 40


@pytest.mark.usefixtures("taking_in")
def test_events_that_come_twice_after_a_wiped_redis_are_recorded_once(home: Home, stream: Redis) -> None:
    publish(stream, [event(number) for number in range(3)])
    eventually(lambda: len(home.frames) == 3)
    home.redis.stop()
    home.redis.start()
    publish(stream, [event(number) for number in range(4)])
    eventually(lambda: len(home.frames) == 4)
    assert home.block().frame_count == 4


def test_what_a_dead_intake_had_received_is_recorded_by_the_next(home: Home, stream: Redis) -> None:
    publish(stream, [event(0), event(1)])
    dead = Intake(stream, "dead")
    dead.open()
    assert len(dead.receive(1, 10)) == 1
    assert stream.xlen(STREAM) == 2, "it was not acknowledged"
    with running_intake(home, claim_after=timedelta(milliseconds=100)):
        eventually(lambda: len(home.frames) == 2)
        eventually(lambda: stream.xlen(STREAM) == 0)


@pytest.mark.usefixtures("taking_in")
def test_what_is_no_event_or_fits_in_no_database_stops_none_of_the_others(home: Home, stream: Redis) -> None:
    stream.xadd(STREAM, {"event": "{"})
    stream.xadd(STREAM, {"something": "else"})
    publish(stream, [event(0), event(1, size_bytes=2**70), event(2)])
    eventually(lambda: len(home.frames) == 2)
    eventually(lambda: stream.xlen(STREAM) == 0)


@pytest.mark.usefixtures("taking_in")
def test_half_a_frame_and_then_the_whole_one_end_as_one(home: Home, stream: Redis) -> None:
    home.take_in(event(1))  # so that there is one telescope, whose the half one must be
    publish(stream, [half(event())])
    eventually(lambda: FrameState.UNREADABLE in home.frame_states())
    publish(stream, [event()])
    eventually(lambda: home.frame_states() == {FrameState.OK})
    assert home.block().frame_count == 2
