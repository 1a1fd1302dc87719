"""The uploader's Celery worker: threads, since all it does is wait for HTTP."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any

from celery import Celery
from celery.concurrency import get_implementation
from celery.signals import worker_ready, worker_shutting_down
from celery.utils.nodenames import host_format
from celery.worker import state as worker_state

from skyrelay.logs import get_logger
from skyrelay.queue.celery_app import EVENTS_EVERY_S, SOFT_SHUTDOWN_S, build_celery, keep_our_logs, nudge
from skyrelay.queue.tasks import Queue
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.opening import open_store
from skyrelay_uploader.tasks import register_tasks
from skyrelay_uploader.workshop import FETCHES_AT_ONCE, UPLOADS_AT_ONCE, Workshop

# One for the confirmation, one for short tasks: the canary and the reconciler never wait for a transfer.
_THREADS = UPLOADS_AT_ONCE + FETCHES_AT_ONCE + 2

_log = get_logger(__name__)


def main(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; a transfer that is not over by then is taken up by the next start."""
    return run(settings)


def run(settings: Settings, **collaborators: Any) -> int:
    """Do the same with other collaborators of the `Workshop` than its own (a clock, say)."""
    stop = stop_on_signals()
    store = open_store(settings, stop)
    if store is None:
        return 0
    app = build_celery(settings.redis)
    register_tasks(app, Workshop(settings, store, partial(nudge, app), **collaborators))
    keep_our_logs()
    worker_shutting_down.connect(_bound_the_shutdown, weak=False)
    worker_ready.connect(lambda **_: _stop_if(stop), weak=False)
    _work(app)
    store.close()
    return 0


def _work(app: Celery) -> None:
    """Run the worker, without Celery's command line, which loads Flower and a terminal's toolkit (20 MB)."""
    app.Worker(
        hostname=host_format("uploader@%h"),
        queues=[Queue.UPLOADER.value],
        pool_cls=get_implementation("threads"),
        concurrency=_THREADS,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        heartbeat_interval=EVENTS_EVERY_S,
        loglevel="INFO",
        quiet=True,  # no banner among the log lines
    ).start()


def _stop_if(stop: threading.Event) -> None:
    """Stop at once when the signal came before Celery had put its own handlers in place."""
    if stop.is_set():
        worker_state.should_stop = os.EX_OK


def _bound_the_shutdown(**_: object) -> None:
    """End the process after `SOFT_SHUTDOWN_S` even where a transfer still holds a thread.

    Threads cannot be ended, and Celery would wait for them. What they hold is under a lease that now
    runs out: a fetch is resumed, a send is asked after.
    """
    timer = threading.Timer(SOFT_SHUTDOWN_S, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    _log.warning("a transfer goes on: ending without it, it will be taken up")
    os._exit(os.EX_OK)
