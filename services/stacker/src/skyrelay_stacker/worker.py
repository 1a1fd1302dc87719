"""The stacker's Celery worker: prefork children, since device work must be killable."""

from __future__ import annotations

import multiprocessing
import os
import threading

import billiard.pool  # type: ignore[import-untyped] # it ships no types
from celery import Celery, bootsteps
from celery.concurrency import get_implementation
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from celery.utils.nodenames import host_format
from celery.worker import state as worker_state

import skyrelay_stacker.ahead  # noqa: F401 - see there
from skyrelay.family import share_what_is_imported
from skyrelay.queue.celery_app import EVENTS_EVERY_S, build_celery, keep_our_logs
from skyrelay.queue.tasks import Queue
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.opening import open_store
from skyrelay_stacker.patience import PatientAutoscaler
from skyrelay_stacker.tasks import register_tasks
from skyrelay_stacker.workshop import Workshop

_MOST_CHILDREN = 8  # more telescopes than that want more hosts
# A child that is told to end waits in steps of 0.1 s until its parent has counted its results; sometimes
# one is never counted (billiard 4.3), and it would wait for 30 s. A lost result costs us nothing.
_WAITS_FOR_PARENT = 20
_DISCOVERED = 2  # children for telescopes that are not in the configuration


class SharedFlag:
    """A flag that forked children share; it has no lock that one of them could take to its grave."""

    def __init__(self) -> None:
        self._value = multiprocessing.RawValue("b", 0)

    def set(self) -> None:
        """Set it, for good."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return bool(self._value.value)


def main(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; a stack that is under way goes on without us."""
    stop = stop_on_signals()
    store = open_store(settings, stop)
    if store is None:
        return 0
    most = children(settings_in_force(settings, store, of=()))
    store.close()  # a connection must not be carried through a fork
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = _WAITS_FOR_PARENT
    shutting_down = SharedFlag()
    app = build_celery(settings.redis)
    register_tasks(app, Workshop(settings, store, app, shutting_down))
    app.steps["worker"].add(_letting_go(shutting_down))
    keep_our_logs()
    share_what_is_imported()
    worker_shutting_down.connect(lambda **_: shutting_down.set(), weak=False)
    worker_ready.connect(lambda **_: _stop_if(stop), weak=False)
    worker_process_init.connect(lambda **_: store.forget_connections(), weak=False)
    _work(app, most)
    return 0


def children(settings: Settings) -> int:
    """Count the children: one a telescope, and one that stays free for short tasks."""
    return min(max(len(settings.telescopes), _DISCOVERED), _MOST_CHILDREN) + 1


def _letting_go(shutting_down: SharedFlag) -> type[bootsteps.StartStopStep]:
    """Give a step of the worker that tells its children to let go when it closes, for whatever reason.

    Without a signal it closes too: Celery gives up when its broker goes while it holds a task (5.7), and
    would wait for the children, minutes in which nothing is consumed, before it can be started again.
    """

    class LettingGo(bootsteps.StartStopStep):  # type: ignore[misc] # Celery ships no types
        requires = ("celery.worker.components:Pool",)

        def close(self, _worker: object) -> None:
            shutting_down.set()

    return LettingGo


def _stop_if(stop: threading.Event) -> None:
    """Stop at once when the signal came before Celery had put its own handlers in place."""
    if stop.is_set():
        worker_state.should_stop = os.EX_OK


def _work(app: Celery, most: int) -> None:
    """Run the worker, without Celery's command line, which loads Flower and a terminal's toolkit (20 MB)."""
    app.conf.worker_autoscaler = PatientAutoscaler
    app.Worker(
        hostname=host_format("stacker@%h"),
        queues=[Queue.STACKER.value],
        pool_cls=get_implementation("prefork"),
        autoscale=(most, 1),
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        heartbeat_interval=EVENTS_EVERY_S,
        loglevel="INFO",
        quiet=True,  # no banner among the log lines
    ).start()
