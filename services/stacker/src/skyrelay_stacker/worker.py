"""The stacker's Celery worker: prefork children, since device work must be killable."""

from __future__ import annotations

import multiprocessing

from celery import Celery
from celery.concurrency import get_implementation
from celery.signals import worker_process_init, worker_shutting_down
from celery.utils.nodenames import host_format

from skyrelay.queue.celery_app import build_celery, keep_our_logs
from skyrelay.queue.tasks import Queue
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.opening import open_store
from skyrelay_stacker.tasks import register_tasks
from skyrelay_stacker.workshop import Workshop

_MOST_CHILDREN = 8  # more telescopes than that want more hosts
_DISCOVERED = 2  # children for telescopes that are not in the configuration


def main(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; a stack that is under way goes on without us."""
    stop = stop_on_signals()
    store = open_store(settings, stop)
    if store is None:
        return 0
    store.close()  # a connection must not be carried through a fork
    shutting_down = multiprocessing.get_context("fork").Event()
    app = build_celery(settings.redis)
    register_tasks(app, Workshop(settings, store, app, shutting_down))
    keep_our_logs()
    worker_shutting_down.connect(lambda **_: shutting_down.set(), weak=False)
    worker_process_init.connect(lambda **_: store.forget_connections(), weak=False)
    _work(app, children(settings))
    return 0


def children(settings: Settings) -> int:
    """Count the children: one a telescope, and one that stays free for short tasks."""
    return min(max(len(settings.telescopes), _DISCOVERED), _MOST_CHILDREN) + 1


def _work(app: Celery, most: int) -> None:
    """Run the worker, without Celery's command line, which loads Flower and a terminal's toolkit (20 MB)."""
    app.Worker(
        hostname=host_format("stacker@%h"),
        queues=[Queue.STACKER.value],
        pool_cls=get_implementation("prefork"),
        autoscale=(most, 1),
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        loglevel="INFO",
        quiet=True,  # no banner among the log lines
    ).start()
