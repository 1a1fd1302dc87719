"""Heartbeats: each service says that its work turns over, and a few figures about it.

They live in Redis, since they are worth nothing a minute later; a service is healthy when its beat
is young, which a worker can only achieve by consuming its canary task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis import Redis

BEATS = "skyrelay:beats"
BEAT_EVERY = timedelta(seconds=10)
CANARY_EVERY = timedelta(seconds=20)
STALE_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of a service, with what it said of itself."""

    service: str
    at: datetime
    detail: Mapping[str, object]

    def is_stale(self, now: datetime) -> bool:
        """Tell whether the service has been silent for too long."""
        return now - self.at > STALE_AFTER


def beat(redis: Redis, service: str, now: datetime, **detail: object) -> None:
    """Say that ``service`` works; ``detail`` holds JSON values without secrets."""
    redis.hset(BEATS, service, json.dumps({"at": now.isoformat(), "detail": detail}))


def read_beats(redis: Redis) -> dict[str, Beat]:
    """Give the last beat of each service."""
    beats = {}
    for service, text in redis.hgetall(BEATS).items():
        value = json.loads(text)
        beats[str(service)] = Beat(str(service), datetime.fromisoformat(value["at"]), value["detail"])
    return beats
