"""Connections to Redis."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_SOCKET_TIMEOUT_S = 30.0  # longer than any blocking read that we make


def connect_redis(url: str, *, answer_within_s: float = _SOCKET_TIMEOUT_S) -> Redis:
    """Give a client for ``redis://…`` or ``unix:///…``; it connects at its first command.

    A command that fails is not repeated behind the caller's back: each of our loops has its own
    way of waiting for Redis to come back.

    Parameters
    ----------
    url
        It may hold a password.
    answer_within_s
        How long to wait for an answer; blocking reads need longer than they block.
    """
    client: Redis = Redis.from_url(
        url,
        socket_timeout=answer_within_s,
        socket_connect_timeout=5.0,
        health_check_interval=30,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )
    return client
