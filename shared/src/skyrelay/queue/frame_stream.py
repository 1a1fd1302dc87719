"""The Redis stream of frame events, its epoch and its consumer group.

The stream is trimmed only below what the intake has acknowledged; for groups of other people's scripts,
which may be slower, entries stay two days at most. Beside it lies a random token, which
makes the epoch together with the id of Redis' run: when it is not the one a watcher knows, Redis has lost
its memory, or may have come up with an older one (a snapshot), and the watcher publishes every file that
is present again (recording one twice is a no-op).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from skyrelay.queue.events import FrameEvent

STREAM = "skyrelay:frames"
EPOCH = "skyrelay:frames:epoch"  # holds the token
INTAKE_GROUP = "intake"
KEEP_FOR_OTHERS = timedelta(days=2)  # a script that was stopped for a night still finds that night
_MOST_FOR_OTHERS = 50_000  # entries, some 50 MB: a script that is gone for good must not fill a small machine
_FIELD = "event"
# Server-side, so that counting does not carry the events over.
_COUNT_AFTER = "return #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+')"
CLAIM_AFTER = timedelta(seconds=60)  # what a consumer has held that long, it holds no more
_DEAD_AFTER = timedelta(hours=1)
# What Redis says of a group that vanished, and to one who waits while its stream does.
_WIPED = ("NOGROUP", "UNBLOCKED", "no such key")

_Id = tuple[int, int]  # milliseconds, number within them
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

    def __init__(self, redis: Redis, consumer: str, *, claim_after: timedelta = CLAIM_AFTER) -> None:
        self._redis = redis
        self._consumer = consumer
        self._claim_after_ms = int(claim_after / timedelta(milliseconds=1))

    def open(self) -> None:
        """Make the group where it is missing, from the stream's beginning; forget who is long gone."""
        try:
            self._redis.xgroup_create(STREAM, INTAKE_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Each start of a container is a consumer of another name: those that hold nothing may go."""
        for consumer in self._redis.xinfo_consumers(STREAM, INTAKE_GROUP):
            if not consumer["pending"] and consumer["idle"] > _DEAD_AFTER / timedelta(milliseconds=1):
                self._redis.xgroup_delconsumer(STREAM, INTAKE_GROUP, consumer["name"])

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
        groups = self._groups()
        ours = groups.get(INTAKE_GROUP)
        if ours is None or len(groups) == 1:
            return int(self._redis.xlen(STREAM))
        new = self._redis.eval(_COUNT_AFTER, 1, STREAM, str(ours["last-delivered-id"]))
        return int(ours["pending"]) + int(new)

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
        groups = self._groups()
        if INTAKE_GROUP not in groups:  # Redis was wiped since
            return
        ours = self._first_needed(groups.pop(INTAKE_GROUP))
        theirs = [self._first_needed(group) for group in groups.values()]
        if theirs and self._redis.xlen(STREAM) <= _MOST_FOR_OTHERS:
            ours = min(ours, max(min(theirs), self._two_days_ago()))
        self._redis.xtrim(STREAM, minid=f"{ours[0]}-{ours[1]}", approximate=False)

    def _two_days_ago(self) -> _Id:
        """Give the id of that time, by the clock that ids are made from: Redis' own."""
        seconds, _microseconds = self._redis.time()
        moment = datetime.fromtimestamp(seconds, UTC) - KEEP_FOR_OTHERS
        return int(moment.timestamp() * 1000), 0

    def _groups(self) -> dict[str, dict[str, Any]]:
        """Give what Redis knows of each group; none where there is no stream."""
        try:
            return {str(group["name"]): group for group in self._redis.xinfo_groups(STREAM)}
        except ResponseError as error:
            if _says_wiped(error):
                return {}
            raise

    def _first_needed(self, group: dict[str, Any]) -> _Id:
        """Give the oldest id that a group has not acknowledged, or the first that it has not received."""
        if group["pending"]:
            return _parse_id(str(self._redis.xpending(STREAM, group["name"])["min"]))
        time_ms, sequence = _parse_id(str(group["last-delivered-id"]))
        return time_ms, sequence + 1


def _says_wiped(error: ResponseError) -> bool:
    return any(word in str(error) for word in _WIPED)


def _entries(answer: object) -> Iterator[Entry]:
    # RESP2 answers a list of [stream, entries], RESP3 a mapping of stream to lists of entries.
    streams = answer.items() if isinstance(answer, dict) else answer or []
    for _stream, entries in streams:  # type: ignore[attr-defined] # one of the two shapes above
        for entry in entries:
            yield from entry if isinstance(entry, list) else [entry]


def _parse_id(entry_id: str) -> _Id:
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)


def _receive(entry_id: str, fields: dict[str, str]) -> Received:
    try:
        return Received(entry_id, FrameEvent.model_validate_json(fields.get(_FIELD, "")))
    except ValidationError as error:
        return Received(entry_id, None, f"no frame event: {error.error_count()} fields are wrong")
