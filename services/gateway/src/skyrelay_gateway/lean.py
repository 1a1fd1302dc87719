"""Many look at once, and the process stays small: it shares a Raspberry Pi's memory with all the others."""

from __future__ import annotations

import ctypes
import sqlite3
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from sqlalchemy import event

from skyrelay.store.engine import Store

# Pages are made under one interpreter lock: more threads make none of them sooner, and each has a connection
# of its own. What waits for others (a login that is tried, Flower, a picture being drawn) takes one, too.
_MOST_THREADS = 4
_CACHE_KB = 128  # of each connection; SQLite takes 2 MB. What is read again is in the system's own cache.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE_BYTES = 128 * 1024  # what is larger goes back when it is freed; glibc would keep more and more
_MOST_ARENAS = 1  # glibc takes eight for each core, and gives little of them back


def confine_threads() -> None:
    """Let few requests be worked on at a time; call it in the event loop."""
    current_default_thread_limiter().total_tokens = _MOST_THREADS


def confine_memory(store: Store) -> None:
    """Keep small what the C library and the database set aside for a thread; call it before there are any."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries have no arenas to confine
    if set_option is not None:
        set_option(_M_ARENA_MAX, _MOST_ARENAS)
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    event.listen(store.engine, "connect", _confine_cache)


def _confine_cache(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}").close()
