"""The Redis stream of frame events, its epoch and its consumer group.

The stream is trimmed only below what the intake has acknowledged. Beside it lies a random token, which
makes the epoch together with the id of Redis' run: when it is not the one a watcher knows, Redis has lost
its memory, or may have come up with an older one (a snapshot), and the watcher publishes every file that
is present again (recording one twice is a no-op).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from skyrelay.queue.events import FrameEvent

STREAM = "skyrelay:frames"
EPOCH = "skyrelay:frames:epoch"  # holds the token
INTAKE_GROUP = "intake"
_FIELD = "event"
_CLAIM_AFTER = timedelta(seconds=60)  # what a consumer has held that long, it holds no more
# What Redis says of a group that vanished, and to one who waits while its stream does.
_WIPED = ("NOGROUP", "UNBLOCKED", "no such key")

Entry = tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Received:
    """One entry of the stream; ``event`` is `None` when it is none of ours, with ``problem`` saying why."""

    entry_id: str
    event: FrameEvent | None
    problem: str | None = None


def current_epoch(redis: Redis) -> str:
    """Give the epoch of the stream, beginning one where there is none.

    The token alone would come back with a snapshot that is older than the last events; each start of the
    server has a ``run_id`` of its own.
    """
    redis.set(EPOCH, secrets.token_hex(8), nx=True)
    return f"{redis.get(EPOCH)!s}-{redis.info('server')['run_id']}"


def publish(redis: Redis, events: Iterable[FrameEvent]) -> int:
    """Add events to the stream in one round trip; give their number."""
    return publish_written(redis, (event.model_dump_json() for event in events))


def publish_written(redis: Redis, texts: Iterable[str]) -> int:
    """Add events that are JSON already, as a spool keeps them."""
    pipeline = redis.pipeline(transaction=False)
    for text in texts:
        pipeline.xadd(STREAM, {_FIELD: text})
    return len(pipeline.execute())


class Intake:
    """A consumer of the stream in the intake's group.

    Parameters
    ----------
    redis
        Client.
    consumer
        Name of this consumer; a dead one's entries are claimed by the others.
    claim_after
        How long an entry is left to the consumer that received it.
    """

    def __init__(self, redis: Redis, consumer: str, *, claim_after: timedelta = _CLAIM_AFTER) -> None:
        self._redis = redis
        self._consumer = consumer
        self._claim_after_ms = int(claim_after / timedelta(milliseconds=1))

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
            entries = self._claim(most) or self._read_new(most, wait_ms)
        except ResponseError as error:
            if not _says_wiped(error):
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

    def _claim(self, most: int) -> list[Entry]:
        answer = self._redis.xautoclaim(
            STREAM, INTAKE_GROUP, self._consumer, self._claim_after_ms, start_id="0-0", count=most
        )
        claimed: list[Entry | tuple[None, None]] = answer[1]
        there = [entry for entry in claimed if entry[0] is not None]
        if len(there) < len(claimed):
            self._forget_deleted(len(claimed))
        return there

    def _forget_deleted(self, most: int) -> None:
        """Redis 6.2 keeps a deleted entry pending for ever, and holds out nothing in its place."""
        for entry in self._redis.xpending_range(STREAM, INTAKE_GROUP, "-", "+", most, self._consumer):
            id_ = entry["message_id"]
            if not self._redis.xrange(STREAM, id_, id_):
                self._redis.xack(STREAM, INTAKE_GROUP, id_)

    def _read_new(self, most: int, wait_ms: int) -> list[Entry]:
        answer = self._redis.xreadgroup(
            INTAKE_GROUP,
            self._consumer,
            {STREAM: ">"},
            count=most,
            block=wait_ms or None,  # 0 would wait for ever
        )
        return list(_entries(answer))

    def _trim(self) -> None:
        delivered = self._last_delivered()
        if delivered is None:
            return
        pending = self._redis.xpending(STREAM, INTAKE_GROUP)
        oldest = pending["min"] if pending["pending"] else _next_id(delivered)
        self._redis.xtrim(STREAM, minid=oldest, approximate=False)

    def _last_delivered(self) -> str | None:
        """Give the id of the newest entry that was handed out; `None` when Redis was wiped since."""
        try:
            groups = self._redis.xinfo_groups(STREAM)
        except ResponseError as error:
            if _says_wiped(error):
                return None
            raise
        return next(
            (str(group["last-delivered-id"]) for group in groups if group["name"] == INTAKE_GROUP), None
        )


def _says_wiped(error: ResponseError) -> bool:
    return any(word in str(error) for word in _WIPED)


def _entries(answer: object) -> Iterator[Entry]:
    # RESP2 answers a list of [stream, entries], RESP3 a mapping of stream to lists of entries.
    streams = answer.items() if isinstance(answer, dict) else answer or []
    for _stream, entries in streams:  # type: ignore[attr-defined] # one of the two shapes above
        for entry in entries:
            yield from entry if isinstance(entry, list) else [entry]


def _next_id(entry_id: str) -> str:
    time_ms, _, sequence = entry_id.partition("-")
    return f"{time_ms}-{int(sequence) + 1}"


def _receive(entry_id: str, fields: dict[str, str]) -> Received:
    try:
        return Received(entry_id, FrameEvent.model_validate_json(fields.get(_FIELD, "")))
    except ValidationError as error:
        return Received(entry_id, None, f"no frame event: {error.error_count()} fields are wrong")
