"""The scheduler (Celery beat): ticks, and never works itself. The intake has a thread of its process.

Both do little, and a process of its own for each is 40 MB (docs/decisions/0028-footprint.md).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType

import structlog
from celery.beat import Scheduler, Service
from redis import Redis
from redis.exceptions import RedisError

from skyrelay.errors import TransientError
from skyrelay.queue.beats import BEAT_EVERY, CANARY_EVERY, beat
from skyrelay.queue.celery_app import build_celery, keep_our_logs
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_on_page
from skyrelay_stacker.intake import taking_in

_log = structlog.stdlib.get_logger(__name__)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_TIDY_EVERY = timedelta(hours=1)
_MAX_SLEEP_S = 5.0  # a signal ends it at once, see `_stop`


def main(settings: Settings) -> int:
    """Tick, and take the events of frames in, until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with taking_in(settings):
        tick(settings)
    return 0


def tick(settings: Settings) -> None:
    """Tick until somebody raises."""
    keep_our_logs()
    app = build_celery(settings.redis)
    app.conf.beat_schedule = schedule(settings)
    ticking = _ticking(connect_redis(settings.redis), partial(settings_on_page, settings))
    Service(app, max_interval=_MAX_SLEEP_S, scheduler_cls=ticking).start()


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Beat looks for a broker that is away without looking at its own stop flag. It holds nothing that could
    # get lost, so it is left at once.
    raise SystemExit(0)


def schedule(settings: Settings) -> dict[str, dict[str, object]]:
    """Say which task is ticked how often; a tick that nobody took in time is dropped."""
    every = {
        TaskName.RECONCILE_STACKING: timedelta(seconds=settings.scheduler.reconcile_s),
        TaskName.RECONCILE_DELIVERIES: timedelta(seconds=settings.scheduler.reconcile_s),
        TaskName.CONFIRM_DELIVERIES: timedelta(seconds=settings.crowdsky.confirm_s),
        TaskName.DISCOVER_TELESCOPES: timedelta(seconds=settings.scheduler.reconcile_s),
        TaskName.TIDY: _TIDY_EVERY,
        TaskName.STACKER_CANARY: CANARY_EVERY,
        TaskName.UPLOADER_CANARY: CANARY_EVERY,
    }
    return {task.value: _entry(task, interval) for task, interval in every.items()}


def _entry(task: TaskName, interval: timedelta) -> dict[str, object]:
    return {
        "task": task.value,
        "schedule": interval,
        "args": [Nothing().model_dump()],
        "last_run_at": _LONG_AGO,  # so that the first tick comes at once
        "options": {"queue": task.queue.value, "expires": 2 * interval.total_seconds()},
    }


def _ticking(redis: Redis, in_force: Callable[[], Settings]) -> type[Scheduler]:
    """Give Celery's in-memory scheduler, saying every few seconds that it lives, by the settings in force.

    It keeps no file of past ticks: every tick only says "look", and the first comes at once.
    """

    class TickingScheduler(Scheduler):  # type: ignore[misc] # Celery ships no types
        last_beat = utc_now() - BEAT_EVERY

        def tick(self, *args: object, **kwargs: object) -> float:
            if utc_now() - self.last_beat >= BEAT_EVERY:
                self.last_beat = utc_now()
                self._beat()
                self._follow_settings()
            return float(super().tick(*args, **kwargs))

        def _follow_settings(self) -> None:
            try:
                wanted = schedule(in_force())
            except TransientError as error:  # what was in force goes on
                _log.info("the database is away", problem=str(error))
                return
            if wanted != self.app.conf.beat_schedule:
                self.app.conf.beat_schedule = wanted
                self.merge_inplace(wanted)
                self._heap = None  # it is ordered by the old intervals

        def _beat(self) -> None:
            try:
                beat(redis, "scheduler", self.last_beat, state="ticking")
            except RedisError as error:
                _log.warning("Redis is away", problem=str(error))

    return TickingScheduler
