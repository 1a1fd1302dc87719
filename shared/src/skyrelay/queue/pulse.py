"""The thread that says, every few seconds, that a service's work goes round."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from skyrelay.logs import get_logger
from skyrelay.queue.beats import BEAT_EVERY, beat

_log = get_logger(__name__)

_FIRST_PAUSE_S = 0.1  # what has just begun changes quickly; the pauses grow to the usual one
_JOIN_S = 0.3  # it may hang in a Redis that does not answer; then it dies with the process

Report = Callable[[], Mapping[str, object] | None]


class Pulse:
    """Beats for a service while its work turns; a context.

    Parameters
    ----------
    redis
        Client; while Redis is away, the beats of that time are left out.
    service
        Name of the service.
    report
        Gives what the service says of itself (JSON values, no secrets), or `None` when its work does not
        turn: then nothing is said, and the service is seen to be stale.
    """

    def __init__(self, redis: Redis, service: str, report: Report) -> None:
        self._redis, self._service, self._report = redis, service, report
        self._stopping = threading.Event()
        self._away = self._silent = False
        self._thread = threading.Thread(target=self._run, name=f"{service}-pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._say(self._report())
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, BEAT_EVERY.total_seconds())

    def _say(self, detail: Mapping[str, object] | None) -> None:
        if detail is None:
            self._fall_silent()
            return
        self._silent = False
        try:
            beat(self._redis, self._service, datetime.now(UTC), **detail)
            self._away = False
        except (RedisError, OSError) as error:
            self._miss(error)

    def _fall_silent(self) -> None:
        if not self._silent:
            _log.error("the work does not go round: no beat", of=self._service)
        self._silent = True

    def _miss(self, error: Exception) -> None:
        if not self._away:
            _log.warning("no beat: Redis is away", problem=type(error).__name__)
        self._away = True
