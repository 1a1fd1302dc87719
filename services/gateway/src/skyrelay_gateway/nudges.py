"""Tell a worker to look, without needing it to hear."""

from __future__ import annotations

from redis.exceptions import RedisError

from skyrelay.logs import get_logger
from skyrelay.queue.celery_app import nudge
from skyrelay.queue.tasks import Message, Nothing, TaskName
from skyrelay_gateway.context import Gateway

_NOBODY_HEARD = "Redis does not answer: this is written down and is done once it is back."


def try_to_nudge(gateway: Gateway, task: TaskName, message: Message | None = None) -> str | None:
    """Say "look" to the workers of ``task``; give a note for the caller when nobody heard it."""
    try:
        gateway.redis.ping()  # where this fails at once, the sender would try for six seconds
    except (RedisError, OSError) as error:
        get_logger(__name__).warning("the broker is away", task=task, problem=str(error))
        return _NOBODY_HEARD
    return None if nudge(gateway.celery, task, message or Nothing()) else _NOBODY_HEARD
