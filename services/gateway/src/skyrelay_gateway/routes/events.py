"""What happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from skyrelay_gateway.live_feed import EventStream, LiveFeed
from skyrelay_gateway.problems import problem_responses

router = APIRouter(prefix="/api/v1", tags=["read"], responses=problem_responses())

_EXAMPLE = """event: change
data: {"id":4711,"at":"2025-03-27T02:31:00Z","actor":"stacker","subject_kind":"block","subject_id":7,…}
id: 4711

event: progress
data: {"block_id":8,"telescope_id":1,"state":"stacking","percent":40.0}

"""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, until the caller or the gateway ends the stream",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


def _as_we_write_it(given: object) -> object:
    """Take an id in the digits that ours have alone: not ``+7``, ``7.0`` or ``1_0``, which pydantic reads."""
    if isinstance(given, str) and not (given.isascii() and given.isdigit()):
        raise ValueError("is not an id of ours")
    return given


_EventId = Annotated[int, BeforeValidator(_as_we_write_it)]


async def feed_of(request: Request) -> LiveFeed:
    """Give the live feed of the gateway that answers ``request``."""
    return cast("LiveFeed", request.app.state.live_feed)


@router.get("/events", response_class=Response, responses=_STREAM)
async def events(
    feed: Annotated[LiveFeed, Depends(feed_of)],
    last_event_id: Annotated[
        _EventId | None,
        Header(alias="Last-Event-ID", ge=0, le=2**53, description="id of the last event that the caller had"),
    ] = None,
    after: Annotated[
        _EventId | None, Query(ge=0, le=2**53, description="the same, for callers that cannot set headers")
    ] = None,
) -> Response:
    """Tell what happens from now on, or since the event named by Last-Event-ID.

    ``hello`` comes first. A ``change`` is a row of the audit log (without its detail), and its id that
    row's. ``telescope`` has a telescope as GET /telescopes gives it, ``progress`` how far a block is,
    ``frames`` the id of the newest frame: these are as of now, and come once after ``hello``. ``reload``
    says that too much was missed to tell it: read the lists anew.
    """
    viewer = await feed.join()
    return EventStream(feed, viewer, after if last_event_id is None else last_event_id)
