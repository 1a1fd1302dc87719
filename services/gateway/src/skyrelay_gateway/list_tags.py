"""ETags of lists: who has the answer already is told so, mostly without it being made anew.

The tag is made of the answer itself, so it stays the same over restarts and over changes that do not show.
Beside it is remembered at which state of the database it was made: as long as that has not changed, no
answer that follows from the database alone can have.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy import text

from skyrelay.store.engine import Store
from skyrelay_gateway.etags import is_known

_MOST_REMEMBERED = 500  # lists with their filters: some kilobytes
_REVALIDATED = {"Cache-Control": "private, no-cache"}
_IfNoneMatch = Annotated[
    str | None, Header(max_length=4096, description="ETag of the answer that the caller has")
]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The caller has this answer already"}}


class DatabaseState:
    """A short text that changes whenever anything is committed to the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watching: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def read(self) -> str | None:
        """Give the text; `None` when the database does not answer."""
        if self._store.engine.dialect.name == "sqlite":
            return self._of_sqlite()
        with self._store.engine.connect() as connection:
            return str(connection.scalar(text("SELECT pg_current_snapshot()::text")))

    def close(self) -> None:
        """Close what watches the database."""
        with self._lock:
            if self._watching is not None:
                self._watching.close()
                self._watching = None

    def _of_sqlite(self) -> str | None:
        """Ask SQLite whether other connections have committed; this one never writes, so all are others."""
        path = Path(str(self._store.engine.url.database))
        try:
            with self._lock:
                if self._watching is None:
                    self._watching = sqlite3.connect(
                        f"{path.absolute().as_uri()}?mode=ro",
                        uri=True,
                        isolation_level=None,
                        check_same_thread=False,
                    )
                (version,) = self._watching.execute("PRAGMA data_version").fetchone()
            return f"{path.stat().st_ino}-{version}"
        except (sqlite3.Error, OSError):
            return None


class ListTags:
    """The tags that were given last, each with the state of the database that it is of."""

    def __init__(self, store: Store) -> None:
        self._database = DatabaseState(store)
        self._given: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def state(self) -> str | None:
        """Give the database's state."""
        return self._database.read()

    def tag_of(self, asked: str, state: str | None) -> str | None:
        """Give the tag of what was asked, if the database has not changed since."""
        with self._lock:
            known = self._given.get(asked)
        return known[1] if known is not None and known[0] == state else None

    def remember(self, asked: str, state: str, tag: str) -> None:
        """Remember the tag of an answer that was made at a state, or later."""
        with self._lock:
            self._given[asked] = (state, tag)
            self._given.move_to_end(asked)
            if len(self._given) > _MOST_REMEMBERED:
                self._given.popitem(last=False)

    def close(self) -> None:
        """Close what watches the database."""
        self._database.close()


class _NotModified(Exception):  # noqa: N818 - no fault: it carries the answer past the route
    def __init__(self, tag: str) -> None:
        super().__init__("not modified")
        self.tag = tag


async def _tagged(request: Request, if_none_match: _IfNoneMatch = None) -> None:  # noqa: ARG001 - read below
    request.state.is_tagged = True


async def _from_database(request: Request, if_none_match: _IfNoneMatch = None) -> None:
    tags: ListTags = request.app.state.list_tags
    request.state.is_tagged = True
    request.state.made_at = await run_in_threadpool(tags.state)
    tag = tags.tag_of(_asked(request), request.state.made_at)
    if tag is not None and is_known(if_none_match, tag):
        raise _NotModified(tag)


# For an answer that depends on the clock too, and for one that follows from the database alone.
TAGGED = Depends(_tagged)
FROM_DATABASE = Depends(_from_database)


class TaggedRoute(APIRoute):
    """A route whose answers have an ETag where `TAGGED` or `FROM_DATABASE` says so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap what FastAPI makes of the route."""
        handle = super().get_route_handler()

        async def handle_tagged(request: Request) -> Response:
            try:
                response = await handle(request)
            except _NotModified as known:
                return _not_modified(known.tag)
            if response.status_code == 200 and getattr(request.state, "is_tagged", False):
                return _with_tag(request, response)
            return response

        return handle_tagged


def _with_tag(request: Request, response: Response) -> Response:
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
    made_at = getattr(request.state, "made_at", None)
    if made_at is not None:
        request.app.state.list_tags.remember(_asked(request), made_at, tag)
    if is_known(request.headers.get("if-none-match"), tag):
        return _not_modified(tag)
    response.headers.update({"ETag": tag, **_REVALIDATED})
    return response


def _not_modified(tag: str) -> Response:
    return Response(status_code=304, headers={"ETag": tag, **_REVALIDATED})


def _asked(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}"
