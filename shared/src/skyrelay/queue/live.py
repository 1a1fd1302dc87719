"""What happens right now, told to whoever listens: a hint to look, worth nothing a moment later.

Nobody's work depends on it; what counts is in the database before it is told.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis
from redis.exceptions import RedisError

from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis

CHANNEL = "skyrelay:live"
_ANSWER_WITHIN_S = 1.0  # who tells has a telescope to watch


class LiveEvent(BaseModel):
    """A block is at ``percent`` in ``state``. Ids and figures only: no name of a place, no coordinate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    kind: Literal["block"] = "block"
    block_id: int
    telescope_id: int
    state: str
    percent: float | None

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read what came over the channel; `None` for what is none of ours."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


def tell(redis_url: str, event: LiveEvent) -> None:
    """Tell whoever listens; that Redis is away is not worth more than a line in the log."""
    try:
        with closing(connect_redis(redis_url, answer_within_s=_ANSWER_WITHIN_S)) as redis:
            redis.publish(CHANNEL, event.model_dump_json())
    except (RedisError, OSError) as error:
        get_logger(__name__).debug("nobody could be told", problem=str(error))


def listen(redis: Redis, timeout_s: float) -> Generator[LiveEvent | None, None, None]:
    """Give events as they come, and `None` each time that none came for so long."""
    with redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call] # its types are partial
        channel.subscribe(CHANNEL)
        while True:
            message = channel.get_message(timeout=timeout_s)
            if message is None or not isinstance(message["data"], str):
                yield None
            elif (event := LiveEvent.read(message["data"])) is not None:
                yield event
