"""The uploader's tasks: read the message, call one use case."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from celery import Celery
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from skyrelay.logs import get_logger
from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import DeliveryMessage, Message, Nothing, StackMessage, TaskName
from skyrelay_uploader.cloud_sending import deliver_to_cloud
from skyrelay_uploader.confirming import confirm_deliveries
from skyrelay_uploader.delivering import deliver
from skyrelay_uploader.due import figures
from skyrelay_uploader.fetching import fetch_stack
from skyrelay_uploader.reconciling import reconcile
from skyrelay_uploader.workshop import ACTOR, Workshop

_log = get_logger(__name__)
M = TypeVar("M", bound=Message)


def register_tasks(app: Celery, workshop: Workshop) -> None:
    """Give the worker its tasks."""
    register = partial(_register, app, workshop)
    register(TaskName.RECONCILE_DELIVERIES, Nothing, lambda shop, _: reconcile(shop))
    register(TaskName.FETCH_STACK, StackMessage, lambda shop, message: fetch_stack(shop, message.stack_id))
    register(TaskName.DELIVER, DeliveryMessage, lambda shop, message: deliver(shop, message.delivery_id))
    register(TaskName.CONFIRM_DELIVERIES, Nothing, lambda shop, _: confirm_deliveries(shop))
    register(TaskName.DELIVER_TO_CLOUD, Nothing, lambda shop, _: deliver_to_cloud(shop))
    register(TaskName.UPLOADER_CANARY, Nothing, lambda shop, _: say_alive(shop))


def say_alive(workshop: Workshop) -> None:
    """Beat, with a few figures: that this task was consumed is the proof that others are."""
    state = "working" if workshop.may_act else "waiting for set-up"
    with workshop.store.read() as session:
        waiting = figures(session)
    until = workshop.quiet_until()
    waiting["quiet_until"] = None if until is None else until.isoformat()
    with connect_redis(workshop.settings.redis) as redis:
        beat(redis, ACTOR, workshop.clock(), state=state, **waiting)


def _register(
    app: Celery, workshop: Workshop, name: TaskName, model: type[M], work: Callable[[Workshop, M], None]
) -> None:
    def run(payload: object = None) -> None:
        message = _read(name, model, payload)
        if message is None:
            return
        with bound_contextvars(service=ACTOR, task=name.value):
            try:
                work(workshop.in_force(), message)
            except Exception:  # whatever it is: said with its ids here, then raised for Flower to show
                _log.exception("the task failed", message=message.model_dump())
                raise

    app.task(name=name.value)(run)


def _read(name: TaskName, model: type[M], payload: object) -> M | None:
    try:
        return model.read(payload)
    except ValidationError as error:
        _log.warning("a message is none of ours: dropped", task=name, problems=error.error_count())
        return None
