"""A nudge arrives in the right queue, as ids and a version; without a broker it says so soon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from skyrelay.queue.celery_app import NUDGE_EXPIRES_S, VISIBILITY_TIMEOUT_S, build_celery, nudge
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import (
    BlockMessage,
    DeliveryMessage,
    Message,
    Nothing,
    Queue,
    StackMessage,
    TaskName,
    TelescopeMessage,
)
from support.redis_server import RedisServer


@pytest.fixture
def app(redis_server: RedisServer) -> Iterator[Celery]:
    app = build_celery(redis_server.url)
    yield app
    app.close()


def take(app: Celery, queue: Queue) -> Any | None:
    """Take one message from a queue, as a worker does; `None` when there is none."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        return app.amqp.queues[queue.value].bind(channel).get(no_ack=True)


@pytest.mark.parametrize(
    ("task", "message", "queue"),
    [
        (TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=7), Queue.STACKER),
        (TaskName.STACK_BLOCK, BlockMessage(block_id=7), Queue.STACKER),
        (TaskName.FETCH_STACK, StackMessage(stack_id=7), Queue.UPLOADER),
        (TaskName.DELIVER, DeliveryMessage(delivery_id=7), Queue.UPLOADER),
        (TaskName.RECONCILE_DELIVERIES, Nothing(), Queue.UPLOADER),
    ],
)
def test_a_nudge_arrives_where_it_belongs(
    app: Celery, task: TaskName, message: Message, queue: Queue
) -> None:
    before = datetime.now(UTC)
    nudge(app, task, message)
    other = next(name for name in Queue if name is not queue)
    assert take(app, other) is None
    arrived = take(app, queue)
    assert arrived is not None
    assert take(app, queue) is None
    args, kwargs, _embedded = arrived.payload
    assert (arrived.headers["task"], arrived.content_type, kwargs) == (task.value, "application/json", {})
    assert [type(message).read(payload) for payload in args] == [message]
    expires = datetime.fromisoformat(arrived.headers["expires"])
    assert before <= expires - timedelta(seconds=NUDGE_EXPIRES_S) <= datetime.now(UTC)


@pytest.mark.parametrize("task", TaskName)
def test_each_task_has_a_queue_that_is_consumed(task: TaskName) -> None:
    assert task.queue in set(Queue)
    assert task.queue.value in build_celery("redis://127.0.0.1").amqp.queues


def test_all_that_is_kept_in_redis_bears_our_name(app: Celery, redis_server: RedisServer) -> None:
    nudge(app, TaskName.DELIVER, DeliveryMessage(delivery_id=1))
    with connect_redis(redis_server.url) as redis:
        keys = [str(key) for key in redis.scan_iter()]
    assert keys
    assert [key for key in keys if not key.startswith("skyrelay:")] == []


def test_what_a_dead_worker_held_comes_back_after_the_longest_task(app: Celery) -> None:
    assert app.conf.broker_transport_options["visibility_timeout"] == VISIBILITY_TIMEOUT_S > 10 * 60


def test_without_a_broker_a_nudge_says_so_soon() -> None:
    app = build_celery("unix:///nowhere/redis.sock")
    began = time.monotonic()
    assert not nudge(app, TaskName.DELIVER, DeliveryMessage(delivery_id=1))
    assert time.monotonic() - began < 15
    app.close()
