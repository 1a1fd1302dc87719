"""Tell a worker to look, without needing it to hear."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from skyrelay.logs import get_logger
from skyrelay.queue.celery_app import nudge
from skyrelay.queue.tasks import Nothing, TaskName

_NOBODY_HEARD = "Redis does not answer: this is written down and is done once it is back."


def try_to_nudge(celery: Celery, task: TaskName) -> str | None:
    """Say "look" to the workers of ``task``; give a note for the caller when nobody heard it."""
    try:
        nudge(celery, task, Nothing())
    except (OperationalError, RedisError, OSError) as error:
        get_logger(__name__).warning("the broker is away", task=task, problem=str(error))
        return _NOBODY_HEARD
    return None
