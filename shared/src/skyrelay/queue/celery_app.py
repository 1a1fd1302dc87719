"""The Celery application, built the same way by everyone who sends or works.

Why each setting: see ``docs/decisions/``. In short: tasks are short, acknowledged late and
idempotent against the database; the broker holds nothing of value.
"""

from __future__ import annotations

from celery import Celery
from celery.signals import setup_logging
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from skyrelay.logs import get_logger
from skyrelay.queue.tasks import Message, Queue, TaskName

# The shortest visibility timeout of any application on a broker wins, so all take it from here. A
# device task lasts ten minutes at most; with late acknowledgement a longer one would start twice.
VISIBILITY_TIMEOUT_S = 30 * 60
SOFT_SHUTDOWN_S = 8.0  # device tasks notice within one second; compose kills after 20
EVENTS_EVERY_S = (
    10.0  # a worker's sign of life for Flower, which counts it as away after 2.5 of them (Celery: 2 s)
)
# Celery kills a child that has not begun within 4 s, and forks the next one: on a busy machine for ever.
CHILD_STARTS_WITHIN_S = 60.0
POLL_S = 5  # the broker answers at once when there is something, and so often when there is not (kombu: 1 s)
NUDGE_EXPIRES_S = 300  # a nudge that nobody took is said again by the reconciler anyway


def build_celery(redis_url: str) -> Celery:
    """Build the application for the broker at ``redis_url`` (``redis://…`` or ``unix:///…``)."""
    app = Celery("skyrelay", set_as_current=False)
    app.conf.update(
        broker_url=_broker_url(redis_url),
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
            "polling_interval": POLL_S,
            "retry_policy": {"timeout": 5.0},
            "global_keyprefix": "skyrelay:",
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=Queue.STACKER,
        task_queues=[KombuQueue(queue) for queue in Queue],
        task_create_missing_queues=False,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
        worker_proc_alive_timeout=CHILD_STARTS_WITHIN_S,
        worker_enable_soft_shutdown_on_idle=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def keep_our_logs() -> None:
    """Stop Celery from replacing the logging that the process has set up."""
    setup_logging.connect(_leave_logging_alone, weak=False)


def nudge(app: Celery, task: TaskName, message: Message, about: str | None = None) -> bool:
    """Say "look" to whoever works on ``task``.

    Parameters
    ----------
    about
        What it is about, for people: Flower shows it beside the task's name in place of the message.

    Returns
    -------
    bool
        Whether the broker took it. If not, nothing is lost: the reconciler says it again.
    """
    try:
        app.send_task(
            task.value,
            args=[message.model_dump()],
            queue=task.queue.value,
            expires=NUDGE_EXPIRES_S,
            retry=False,
            argsrepr=about,
        )
    except (BrokerError, RedisError, OSError) as error:  # whichever layer notices first
        get_logger(__name__).warning(
            "the broker is away; the reconciler will say it again", task=task, problem=str(error)
        )
        return False
    return True


def _broker_url(redis_url: str) -> str:
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://")
    return redis_url


def _leave_logging_alone(**_: object) -> None:
    """Celery configures nothing where this signal has a receiver."""
