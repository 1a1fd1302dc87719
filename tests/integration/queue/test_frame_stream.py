"""No frame event is lost between watcher and intake, whoever dies and whatever Redis forgets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import (
    EPOCH,
    INTAKE_GROUP,
    KEEP_FOR_OTHERS,
    STREAM,
    Intake,
    Received,
    current_epoch,
    publish,
)
from support.redis_server import RedisServer
from support.waiting import eventually

_NOW = datetime(2025, 3, 27, 1, 21, tzinfo=UTC)
_AT_ONCE = timedelta(0)


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with connect_redis(redis_server.url) as client:
        yield client


@pytest.fixture
def intake(redis: Redis) -> Intake:
    intake = Intake(redis, "first")
    intake.open()
    return intake


def events(*names: str) -> list[FrameEvent]:
    return [
        FrameEvent(root="/photos", path=f"M 94_sub/{name}", size_bytes=1, modified_at=_NOW, seen_at=_NOW)
        for name in names
    ]


def names(received: list[Received]) -> list[str]:
    return [entry.event.file_name for entry in received if entry.event is not None]


def is_waiting(redis: Redis) -> bool:
    return any("b" in client["flags"] for client in redis.client_list())


def test_what_is_published_is_received_whole_and_in_order(redis: Redis, intake: Intake) -> None:
    sent = FrameEvent(
        root="/photos",
        telescope="garden",
        path="M 94_sub/Light_织女 é_10.0s_LP_20250326-212046.fit",
        size_bytes=4_154_880,
        modified_at=_NOW,
        header={"DATE-OBS": "2025-03-27T01:20:32.955368", "EXPTIME": 10.0, "GAIN": 80, "EQMODE": False},
        header_sha256="ab" * 32,
        seen_at=_NOW,
    )
    assert publish(redis, [sent, *events("b", "c")]) == 3
    received = intake.receive(10, 100)
    assert received[0].event == sent
    assert names(received)[1:] == ["b", "c"]
    assert [entry.problem for entry in received] == [None] * 3


def test_nothing_published_is_nothing_sent(redis: Redis, intake: Intake) -> None:
    assert publish(redis, []) == 0
    assert intake.receive(10, 0) == []


def test_what_was_published_before_the_group_is_received(redis: Redis) -> None:
    publish(redis, events("a"))
    intake = Intake(redis, "first")
    intake.open()
    intake.open()  # it may be there already
    assert names(intake.receive(10, 100)) == ["a"]


def test_a_receiver_is_woken_by_what_comes(redis: Redis, redis_server: RedisServer, intake: Intake) -> None:
    received: list[Received] = []
    thread = threading.Thread(target=lambda: received.extend(intake.receive(10, 20_000)))
    thread.start()
    with connect_redis(redis_server.url) as other:
        eventually(lambda: is_waiting(other))
        publish(other, events("a"))
    thread.join(10)
    assert names(received) == ["a"]


def test_an_intake_takes_no_more_than_it_asked_for(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b", "c"))
    assert [names(intake.receive(2, 100)) for _ in range(2)] == [["a", "b"], ["c"]]


def test_two_consumers_share_the_work(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b"))
    other = Intake(redis, "second")
    assert names(intake.receive(1, 100)) + names(other.receive(10, 100)) == ["a", "b"]


def test_what_a_dead_consumer_held_is_received_by_another(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b"))
    assert names(intake.receive(10, 100)) == ["a", "b"]  # and then it dies
    assert Intake(redis, "patient").receive(10, 0) == []
    heir = Intake(redis, "heir", claim_after=_AT_ONCE)
    received = heir.receive(10, 0)
    assert names(received) == ["a", "b"]
    heir.acknowledge(received)
    assert heir.receive(10, 0) == []
    assert heir.backlog() == 0


def test_a_consumer_that_holds_something_or_was_here_a_moment_ago_is_kept(
    redis: Redis, intake: Intake
) -> None:
    publish(redis, events("a"))
    intake.receive(10, 100)
    Intake(redis, "second").receive(10, 0)
    intake.open()
    assert {consumer["name"] for consumer in redis.xinfo_consumers(STREAM, INTAKE_GROUP)} >= {"first"}


def test_what_was_acknowledged_is_never_received_again(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b"))
    intake.acknowledge(intake.receive(1, 100))
    assert names(Intake(redis, "second", claim_after=_AT_ONCE).receive(10, 0)) == ["b"]


def test_the_stream_is_trimmed_only_below_what_is_acknowledged(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b", "c", "d"))
    first, second, third = (intake.receive(1, 100) for _ in range(3))
    intake.acknowledge(second)
    assert intake.backlog() == 4, "a is not recorded yet, so nothing may go"
    intake.acknowledge(first)
    assert intake.backlog() == 2, "c is being recorded, d was never handed out"
    intake.acknowledge(third)
    assert names(intake.receive(10, 100)) == ["d"]
    assert intake.backlog() == 1


def test_acknowledging_nothing_trims_nothing(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a"))
    intake.acknowledge([])
    intake.acknowledge([Received("1-1", None)])  # none of this stream's
    assert names(intake.receive(10, 100)) == ["a"]


def test_a_reader_of_its_own_is_not_disturbed(redis: Redis, intake: Intake) -> None:
    redis.xgroup_create(STREAM, "somebody's script", id="0")
    publish(redis, events("a"))
    received = intake.receive(10, 100)
    intake.acknowledge(received)
    assert intake.backlog() == 0
    publish(redis, events("b"))
    assert intake.backlog() == 1
    assert intake.receive(10, 100)
    assert intake.backlog() == 1, "received, not recorded"
    theirs = redis.xreadgroup("somebody's script", "me", {STREAM: ">"})
    assert len(theirs[STREAM][0] if isinstance(theirs, dict) else theirs[0][1]) == 2


def test_what_a_slower_group_has_acknowledged_goes(redis: Redis, intake: Intake) -> None:
    redis.xgroup_create(STREAM, "somebody's script", id="0")
    publish(redis, events("a", "b"))
    intake.acknowledge(intake.receive(10, 100))
    assert redis.xlen(STREAM) == 2
    first, second = (entry_id for entry_id, _fields in redis.xrange(STREAM))
    redis.xreadgroup("somebody's script", "me", {STREAM: ">"})
    redis.xack(STREAM, "somebody's script", second)
    publish(redis, events("c"))
    intake.acknowledge(intake.receive(10, 100))
    assert redis.xlen(STREAM) == 3, "the first is still theirs"
    redis.xack(STREAM, "somebody's script", first)
    publish(redis, events("d"))
    intake.acknowledge(intake.receive(10, 100))
    assert redis.xlen(STREAM) == 2, "c and d are new to them"


def test_a_group_whose_script_is_gone_keeps_nothing_for_longer_than_two_days(
    redis: Redis, intake: Intake
) -> None:
    redis.xgroup_create(STREAM, "forgotten", id="0")
    now_s, _microseconds = redis.time()
    old_s = now_s - KEEP_FOR_OTHERS.total_seconds()
    for entry_s in (old_s - 60, old_s + 60):
        redis.xadd(STREAM, {"event": events("a")[0].model_dump_json()}, id=f"{int(entry_s * 1000)}-0")
    intake.acknowledge(intake.receive(10, 100))
    assert redis.xlen(STREAM) == 1
    assert intake.backlog() == 0


@pytest.mark.parametrize(
    "fields", [{"event": "{}"}, {"event": "no json"}, {"other": "x"}, {"event": '{"version": 2}'}]
)
def test_what_is_no_frame_event_is_named_and_blocks_nothing(
    redis: Redis, intake: Intake, fields: dict[str, str]
) -> None:
    redis.xadd(STREAM, fields)
    publish(redis, events("a"))
    bad, good = intake.receive(10, 100)
    assert bad.event is None
    assert bad.problem is not None
    assert "no frame event" in bad.problem
    assert good.event is not None
    intake.acknowledge([bad, good])
    assert intake.backlog() == 0


def test_what_was_deleted_from_the_stream_blocks_nothing(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a", "b", "c"))
    received = intake.receive(2, 100)
    redis.xdel(STREAM, received[0].entry_id)
    heir = Intake(redis, "heir", claim_after=_AT_ONCE)
    taken = [entry for _ in range(3) for entry in heir.receive(1, 0)]
    assert {*names(taken)} == {"b", "c"}
    heir.acknowledge(taken)
    assert heir.backlog() == 0
    assert redis.xpending(STREAM, INTAKE_GROUP)["pending"] == 0


def test_the_epoch_lasts_as_long_as_the_memory(redis: Redis) -> None:
    epoch = current_epoch(redis)
    assert current_epoch(redis) == epoch
    redis.flushall()
    assert current_epoch(redis) != epoch


def test_a_redis_that_was_started_again_begins_an_epoch(redis: Redis, redis_server: RedisServer) -> None:
    epoch = current_epoch(redis)
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        current_epoch(redis)
    redis_server.start()
    assert current_epoch(redis) != epoch


def test_a_redis_that_came_up_with_an_old_snapshot_begins_an_epoch(
    redis: Redis, redis_server: RedisServer
) -> None:
    epoch, token = current_epoch(redis), redis.get(EPOCH)
    redis.save()
    redis_server.stop()
    redis_server.start()
    assert redis.get(EPOCH) == token
    assert current_epoch(redis) != epoch


def test_after_a_wipe_the_group_is_made_again(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a"))
    intake.receive(10, 100)
    redis.flushall()
    assert intake.receive(10, 0) == []
    publish(redis, events("b"))
    received = intake.receive(10, 100)
    assert names(received) == ["b"]
    intake.acknowledge(received)
    assert intake.backlog() == 0


def test_what_came_between_the_wipe_and_the_next_look_is_received(redis: Redis, intake: Intake) -> None:
    redis.flushall()
    publish(redis, events("a"))
    assert names(intake.receive(10, 0)) == ["a"]


def test_a_wipe_while_an_intake_waits_loses_nothing(
    redis: Redis, redis_server: RedisServer, intake: Intake
) -> None:
    received: list[Received] = []
    thread = threading.Thread(target=lambda: received.extend(intake.receive(10, 20_000)))
    thread.start()
    with connect_redis(redis_server.url) as other:
        eventually(lambda: is_waiting(other))
        other.flushall()
        publish(other, events("a"))
    thread.join(20)
    assert names(received) == ["a"]


def test_acknowledging_after_a_wipe_is_harmless(redis: Redis, intake: Intake) -> None:
    publish(redis, events("a"))
    received = intake.receive(10, 100)
    redis.flushall()
    intake.acknowledge(received)
    publish(redis, events("b"))  # by now there is a stream again, but no group
    intake.acknowledge(received)
    assert names(intake.receive(10, 0)) == ["b"]
