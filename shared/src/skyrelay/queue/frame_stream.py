"""The Redis stream of frame events, its epoch and its consumer group.

The stream is trimmed only below what the intake has acknowledged. Beside it lies a random epoch: when
it is not the one a watcher knows, Redis has lost its memory, and the watcher publishes every file that
is present again (recording one twice is a no-op).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from skyrelay.queue.events import FrameEvent

STREAM = "skyrelay:frames"
EPOCH = "skyrelay:frames:epoch"
INTAKE_GROUP = "intake"
_FIELD = "event"
_CLAIM_AFTER_MS = 60_000  # what a consumer has held that long, it holds no more


@dataclass(frozen=True, slots=True)
class Received:
    """One entry of the stream; ``event`` is `None` when it is none of ours, with ``problem`` saying why."""

    entry_id: str
    event: FrameEvent | None
    problem: str | None = None


def current_epoch(redis: Redis) -> str:
    """Give the epoch of the stream, beginning one where there is none."""
    redis.set(EPOCH, secrets.token_hex(8), nx=True)
    return str(redis.get(EPOCH))


def publish(redis: Redis, events: Iterable[FrameEvent]) -> int:
    """Add events to the stream in one round trip; give their number."""
    pipeline = redis.pipeline(transaction=False)
    for event in events:
        pipeline.xadd(STREAM, {_FIELD: event.model_dump_json()})
    return len(pipeline.execute())


class Intake:
    """A consumer of the stream in the intake's group.

    Parameters
    ----------
    redis
        Client.
    consumer
        Name of this consumer; a dead one's entries are claimed by the others.
    """

    def __init__(self, redis: Redis, consumer: str) -> None:
        self._redis = redis
        self._consumer = consumer

    def open(self) -> None:
        """Make the group where it is missing, from the stream's beginning."""
        try:
            self._redis.xgroup_create(STREAM, INTAKE_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def receive(self, most: int, wait_ms: int) -> list[Received]:
        """Take up to ``most`` entries: first those that a dead consumer held, else new ones.

        Waits up to ``wait_ms`` for new entries. A group that vanished (Redis was wiped) is made anew.
        """
        try:
            claimed = self._redis.xautoclaim(
                STREAM,
                INTAKE_GROUP,
                self._consumer,
                min_idle_time=_CLAIM_AFTER_MS,
                start_id="0-0",
                count=most,
            )
            entries = list(claimed[1]) or self._read_new(most, wait_ms)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.open()
            entries = self._read_new(most, wait_ms)
        return [_receive(entry_id, fields) for entry_id, fields in entries]

    def acknowledge(self, received: Iterable[Received]) -> None:
        """Say that entries are recorded, and trim the stream below the oldest that is not."""
        ids = [entry.entry_id for entry in received]
        if ids:
            self._redis.xack(STREAM, INTAKE_GROUP, *ids)
            self._trim()

    def backlog(self) -> int:
        """Count the entries that are not acknowledged yet."""
        return int(self._redis.xlen(STREAM))

    def _read_new(self, most: int, wait_ms: int) -> list[tuple[str, dict[str, str]]]:
        answer = self._redis.xreadgroup(
            INTAKE_GROUP, self._consumer, {STREAM: ">"}, count=most, block=wait_ms
        )
        return list(_entries(answer))

    def _trim(self) -> None:
        group = next(group for group in self._redis.xinfo_groups(STREAM) if group["name"] == INTAKE_GROUP)
        pending = self._redis.xpending(STREAM, INTAKE_GROUP)
        oldest = pending["min"] if pending["pending"] else _next_id(group["last-delivered-id"])
        self._redis.xtrim(STREAM, minid=oldest, approximate=False)


def _entries(answer: object) -> Iterator[tuple[str, dict[str, str]]]:
    # RESP2 answers a list of [stream, entries], RESP3 a mapping of stream to lists of entries.
    streams = answer.items() if isinstance(answer, dict) else answer or []
    for _stream, entries in streams:  # type: ignore[attr-defined] # one of the two shapes above
        for entry in entries:
            yield from entry if isinstance(entry, list) else [entry]


def _next_id(entry_id: str) -> str:
    time_ms, _, sequence = entry_id.partition("-")
    return f"{time_ms}-{int(sequence) + 1}"


def _receive(entry_id: str, fields: dict[str, str] | None) -> Received:
    if not fields:
        return Received(entry_id, None, "the entry was deleted from the stream")
    try:
        return Received(entry_id, FrameEvent.model_validate_json(fields.get(_FIELD, "")))
    except ValidationError as error:
        return Received(entry_id, None, f"no frame event: {error.error_count()} fields are wrong")
