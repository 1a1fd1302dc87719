"""The intake: reads the frame stream, records each event, acknowledges after the commit."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError, StatementError

from skyrelay.queue.beats import BEAT_EVERY, beat
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import CLAIM_AFTER, Intake, Received
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.opening import open_store
from skyrelay_stacker.taking_in import take_in

_log = structlog.stdlib.get_logger(__name__)
_BATCH = 500  # one transaction; well under a tenth of a second
_WAIT_MS = 1000
_RETRY_S = 2.0
_LEAVES_WITHIN_S = 3.0


@contextmanager
def taking_in(settings: Settings) -> Iterator[None]:
    """Take events in meanwhile, in a thread; if it fails, this process is told to stop, and says why.

    The end is not waited for long: a database may hang, and what was not acknowledged is received again.
    """
    stop, failed = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            _open_and_run(settings, stop)
        except Exception as error:  # noqa: BLE001 - it is raised where the process ends
            failed.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=work, name="intake", daemon=True)
    try:
        thread.start()
        yield
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join(_LEAVES_WITHIN_S)
        if failed:
            raise failed[0]


def _open_and_run(settings: Settings, stop: threading.Event) -> None:
    store = open_store(settings, stop)
    if store is not None:
        run(settings, store, stop)
        store.close()


def run(
    settings: Settings, store: Store, stop: threading.Event, *, claim_after: timedelta = CLAIM_AFTER
) -> None:
    """Take events in until ``stop`` is set. Redis or the database being away loses nothing.

    What another intake received and did not record within ``claim_after`` is taken over.
    """
    redis = connect_redis(settings.redis)
    intake = Intake(redis, f"{socket.gethostname()}:{os.getpid()}", claim_after=claim_after)
    is_away, last_beat, recorded = False, utc_now() - BEAT_EVERY, 0
    while not stop.is_set():
        try:
            received = intake.receive(_BATCH, _WAIT_MS)
            recorded += _record(store, received, settings)
            intake.acknowledge(received)
            if utc_now() - last_beat >= BEAT_EVERY:
                last_beat = utc_now()
                beat(redis, "intake", last_beat, state="working", recorded=recorded, backlog=intake.backlog())
            is_away = False
        except (RedisError, OperationalError) as error:
            # What was received and not acknowledged is received again: recording twice is a no-op.
            if not is_away:
                _log.warning("Redis or the database is away; waiting for it", problem=str(error))
            is_away = True
            stop.wait(_RETRY_S)
    redis.close()


def _record(store: Store, received: list[Received], settings: Settings) -> int:
    for entry in received:
        if entry.problem is not None:
            _log.warning("an entry of the stream is left alone", entry=entry.entry_id, problem=entry.problem)
    events = [entry.event for entry in received if entry.event is not None]
    if not events:
        return 0
    try:
        return _take_in(store, events, settings)
    except OperationalError:
        raise
    except (StatementError, ValueError, OverflowError) as error:
        # The stream is open to others: one event that no database can hold must not stop the rest.
        _log.warning("a batch holds an event that cannot be recorded", problem=type(error).__name__)
        return sum(_take_in_alone(store, event, settings) for event in events)


def _take_in(store: Store, events: list[FrameEvent], settings: Settings) -> int:
    with store.write() as session:
        return take_in(session, events, settings_in_force(settings, store, of=()), utc_now())


def _take_in_alone(store: Store, event: FrameEvent, settings: Settings) -> int:
    try:
        return _take_in(store, [event], settings)
    except OperationalError:
        raise
    except (StatementError, ValueError, OverflowError) as error:
        _log.error("an event is left alone", root=event.root, path=event.path, problem=str(error))
        return 0
