"""How the gateway knows the watcher: both can read one random word in Redis, which nobody else reaches.

The watcher has no database and no person who could log it in. The word stands for one thing only: to be told
the watcher's part of the settings.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from redis import Redis

HEADER = "X-Skyrelay-Watcher"
_KEY = "skyrelay:watcher-pass"
_LASTS = timedelta(days=1)  # then there is another; both read it anew each time


def watcher_pass(redis: Redis) -> str:
    """Give the word, made by whoever asks first; raises `redis.exceptions.RedisError` without Redis."""
    redis.set(_KEY, secrets.token_urlsafe(32), nx=True, ex=_LASTS)
    return str(redis.get(_KEY) or "")
