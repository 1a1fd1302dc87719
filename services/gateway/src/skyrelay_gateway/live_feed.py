"""What happens, as it happens, to everybody who watches.

However many watch, one reader looks: at the database once a second, and at what the workers tell over
Redis, which makes progress show at once and is not needed otherwise. It looks only while somebody
watches. Each viewer has a short queue; one that does not keep up is let go, and comes back with the id
of the last change that it had, from which the audit log tells the rest.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from skyrelay.domain.states import BlockState
from skyrelay.queue.live import LiveEvent, listen
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Frame, Telescope
from skyrelay.version import __version__
from skyrelay_gateway.audit_log import AuditView, entries_after
from skyrelay_gateway.models import TelescopeView
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.views import telescope_view

_log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S = 1.0
KEEP_ALIVE_S = 15.0  # below what proxies and routers take for a dead connection
_MOST_VIEWERS = 500
_MOST_WAITING = 64  # batches that a viewer may be behind: a minute, when nothing much happens
_PORTION = 500  # changes in one batch
_MOST_MISSED = 2000  # more than that is told as "read everything anew", which is cheaper for both
_SEND_WITHIN_S = 30.0
_RECONNECT_MS = 3000
_REDIS_AGAIN_S = 2.0
_LISTEN_S = 0.5  # so that the listening thread ends soon after the last viewer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the reader saw: up to which change, and what has none in the audit log."""

    position: int
    changes: tuple[AuditView, ...] = ()
    telescopes: Mapping[int, TelescopeView] = field(default_factory=dict)
    progress: Mapping[int, LiveEvent] = field(default_factory=dict)
    newest_frame: int = 0


class Viewer:
    """One open stream; everything here happens in the event loop's thread."""

    def __init__(self, joined_at: Snapshot) -> None:
        self.joined_at = joined_at
        self.is_over = False
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, batch: bytes) -> None:
        """Give it a batch; one that is too far behind is let go instead."""
        if self._waiting.qsize() >= _MOST_WAITING:
            self.end()
        elif not self.is_over:
            self._waiting.put_nowait(batch)

    def end(self) -> None:
        """Let the stream end after what waits already."""
        if not self.is_over:
            self.is_over = True
            self._waiting.put_nowait(None)

    async def next(self, within_s: float) -> bytes | None:
        """Give the next batch, a comment when none came in time, and `None` at the end."""
        try:
            async with asyncio.timeout(within_s):
                return await self._waiting.get()
        except TimeoutError:
            return KEEPALIVE_COMMENT


class LiveFeed:
    """The streams of a gateway and the one reader behind them."""

    def __init__(
        self,
        store: Store,
        redis: Redis,
        *,
        look_every_s: float = LOOK_EVERY_S,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._store = store
        self._redis = redis
        self._look_every_s = look_every_s
        self._keep_alive_s = keep_alive_s
        self._viewers: set[Viewer] = set()
        self._reader: _Reader | None = None
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._ending: list[_Reader] = []

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    async def join(self) -> Viewer:
        """Begin to watch; what happens from now on waits for the viewer until `leave`.

        Raises
        ------
        Problem
            503 when too many watch already, or the gateway is about to stop.
        """
        if self._is_closed or len(self._viewers) >= _MOST_VIEWERS:
            raise Problem(503, "No more streams can be opened now.", "Try again in a moment.")
        async with self._starting:
            if self._reader is None:
                reader = _Reader(self._store, self._redis, self._tell, self._look_every_s)
                await reader.start()
                self._reader = reader
            viewer = Viewer(self._reader.latest)
            self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Stop watching; with the last viewer the reader ends."""
        self._viewers.discard(viewer)
        if not self._viewers and self._reader is not None:
            self._reader.stop()
            self._ending = [each for each in (*self._ending, self._reader) if each.is_listening]
            self._reader = None

    def close(self) -> None:
        """End all streams, for good."""
        self._is_closed = True
        for viewer in tuple(self._viewers):
            viewer.end()
            self.leave(viewer)

    async def ended(self) -> None:
        """Wait, after `close`, until nobody listens to Redis any more: it may be closed then."""
        for reader in self._ending:
            await run_in_threadpool(reader.join)

    async def stream(self, viewer: Viewer, last_event_id: int | None) -> AsyncIterator[bytes]:
        """Give what a viewer missed since ``last_event_id``, how things are, and then what happens."""
        seen = viewer.joined_at
        yield _hello(seen.position, is_new=last_event_id is None)
        if last_event_id is not None:
            async for batch in self._missed(last_event_id, seen.position):
                yield batch
        yield _batch_of(Snapshot(seen.position), seen)
        while (batch_now := await viewer.next(self._keep_alive_s)) is not None:
            yield batch_now

    async def _missed(self, after_id: int, up_to: int) -> AsyncIterator[bytes]:
        if after_id > up_to or up_to - after_id > _MOST_MISSED:
            yield _event("reload", {"last_event_id": up_to}, up_to)
            return
        while after_id < up_to:
            changes = await run_in_threadpool(_read_changes, self._store, after_id, up_to)
            if not changes:
                return
            yield b"".join(map(_change, changes))
            after_id = changes[-1].id

    def _tell(self, batch: bytes) -> None:
        for viewer in tuple(self._viewers):
            viewer.put(batch)


class _Reader:
    """Looks at the database and listens to Redis for all viewers, from `start` to `stop`."""

    def __init__(
        self, store: Store, redis: Redis, tell: Callable[[bytes], None], look_every_s: float
    ) -> None:
        self.latest = Snapshot(0)
        self._store = store
        self._redis = redis
        self._tell = tell
        self._look_every_s = look_every_s
        self._stop = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: threading.Thread | None = None

    async def start(self) -> None:
        """Look for the first time; raises what the database raises."""
        self.latest = await run_in_threadpool(_look_first, self._store)
        loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._look_on()))
        self._listener = threading.Thread(target=self._listen, args=(loop,), name="live events", daemon=True)
        self._listener.start()

    @property
    def is_listening(self) -> bool:
        """Whether the thread that listens has not ended yet."""
        return self._listener is not None and self._listener.is_alive()

    def join(self) -> None:
        """Wait for that thread, which looks up every half second."""
        if self._listener is not None:
            self._listener.join(2 * _LISTEN_S)

    def stop(self) -> None:
        """End soon; nothing is told any more."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                await self._look()
            except (DBAPIError, PoolTimeout) as error:
                _log.warning("the database did not answer the live view", problem=str(error))

    async def _look(self) -> None:
        is_more = True
        while is_more:
            now = await run_in_threadpool(_look, self._store, self.latest.position)
            batch = _batch_of(self.latest, now)
            self.latest = now
            if batch:
                self._tell(batch)
            is_more = len(now.changes) == _PORTION

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.is_set():
            try:
                with closing(listen(self._redis, _LISTEN_S)) as events:
                    for event in events:
                        if self._stop.is_set():
                            return
                        if event is not None:
                            loop.call_soon_threadsafe(self._note_progress, event)
            except (RedisError, OSError) as error:
                _log.debug("Redis is away; the live view has the database", problem=str(error))
                self._stop.wait(_REDIS_AGAIN_S)

    def _note_progress(self, event: LiveEvent) -> None:
        if self._stop.is_set() or self.latest.progress.get(event.block_id) == event:
            return
        progress = {**self.latest.progress, event.block_id: event}
        self.latest = replace(self.latest, progress=progress)
        self._tell(_progress(event))


class EventStream(StreamingResponse):
    """A stream of events; one whose caller takes nothing for long ends."""

    media_type = "text/event-stream"

    def __init__(self, feed: LiveFeed, viewer: Viewer, last_event_id: int | None) -> None:
        # What buffers answers (nginx) would keep events to itself.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(feed.stream(viewer, last_event_id), headers=headers)
        self._feed = feed
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._viewer)

    async def stream_response(self, send: Send) -> None:
        """Send what comes, until the viewer is let go."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self.body_iterator:
                async with asyncio.timeout(_SEND_WITHIN_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            _log.info("a viewer of the live events takes nothing any more")
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _look_first(store: Store) -> Snapshot:
    with store.read() as session:
        position = session.scalar(select(func.max(AuditEntry.id))) or 0
        return _snapshot(session, position, ())


def _look(store: Store, after_id: int) -> Snapshot:
    with store.read() as session:
        entries = entries_after(session, after_id, None, _PORTION)
        changes = tuple(AuditView.model_validate(entry) for entry in entries)
        return _snapshot(session, changes[-1].id if changes else after_id, changes)


def _snapshot(session: Session, position: int, changes: tuple[AuditView, ...]) -> Snapshot:
    telescopes = session.scalars(select(Telescope).order_by(Telescope.id)).all()
    under_way = select(Block.id, Block.telescope_id, Block.state, Block.percent).where(
        Block.state == BlockState.STACKING
    )
    progress = [
        LiveEvent(block_id=row.id, telescope_id=row.telescope_id, state=row.state, percent=row.percent)
        for row in session.execute(under_way)
    ]
    return Snapshot(
        position,
        changes,
        {row.id: telescope_view(row) for row in telescopes},
        {event.block_id: event for event in progress},
        session.scalar(select(func.max(Frame.id))) or 0,
    )


def _read_changes(store: Store, after_id: int, up_to: int) -> tuple[AuditView, ...]:
    with store.read() as session:
        entries = entries_after(session, after_id, up_to, _PORTION)
        return tuple(AuditView.model_validate(entry) for entry in entries)


def _batch_of(before: Snapshot, now: Snapshot) -> bytes:
    """Write all that is new in ``now``."""
    return b"".join((*map(_change, now.changes), *_hints(before, now)))


def _hints(before: Snapshot, now: Snapshot) -> Iterable[bytes]:
    for id_, telescope in now.telescopes.items():
        if before.telescopes.get(id_) != telescope:
            yield _event("telescope", telescope)
    for id_, event in now.progress.items():
        if before.progress.get(id_) != event:
            yield _progress(event)
    if before.newest_frame != now.newest_frame:
        yield _event("frames", {"newest_id": now.newest_frame})


def _hello(position: int, *, is_new: bool) -> bytes:
    """Write the first event; whoever comes without an id has one from here on."""
    data = {"version": __version__, "last_event_id": position}
    return _event("hello", data, position if is_new else None, _RECONNECT_MS)


def _change(change: AuditView) -> bytes:
    return format_sse_event(
        event="change", data_str=change.model_dump_json(exclude={"detail"}), id=str(change.id)
    )


def _progress(event: LiveEvent) -> bytes:
    return format_sse_event(event="progress", data_str=event.model_dump_json(exclude={"version", "kind"}))


def _event(
    name: str, data: BaseModel | Mapping[str, Any], id_: int | None = None, retry_ms: int | None = None
) -> bytes:
    text = data.model_dump_json() if isinstance(data, BaseModel) else json.dumps(dict(data))
    return format_sse_event(event=name, data_str=text, id=None if id_ is None else str(id_), retry=retry_ms)
