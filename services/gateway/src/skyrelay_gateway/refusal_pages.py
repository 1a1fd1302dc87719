"""A person who is refused gets a page that says what to do, where a program gets a problem.

Refusals come from many places: routes, the guard, the bounds of a body, addresses where nothing is. All of
them are problems (`skyrelay_gateway.problems`); for a person they become a page here, and nowhere else.
"""

from __future__ import annotations

import json
from typing import Any, cast

from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyrelay_gateway.forwarded import route_path
from skyrelay_gateway.page_frame import way_to_root
from skyrelay_gateway.problems import MEDIA_TYPE, problem_response
from skyrelay_gateway.security import SECURITY_HEADERS
from skyrelay_gateway.templating import render

_MARK = "is_page"
_OF_THE_BODY = ("content-type", "content-length")


class RefusalPages:
    """Turn the problems that are answered to a person into pages; status and headers stay.

    Parameters
    ----------
    app
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        start: Message | None = None
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message) and wants_page(scope):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await _page_of(scope, start, body)(scope, receive, send)

        await self._app(scope, receive, send_page)


def mark_as_page(request: Request) -> None:
    """Say that a request is answered with pages alone, whoever asks."""
    request.scope.setdefault("state", {})[_MARK] = True


def wants_page(scope: Scope) -> bool:
    """Tell whether a person looks at the answer: a browser asks, and not for what programs ask for."""
    if scope.get("state", {}).get(_MARK):
        return True
    return "text/html" in Headers(scope=scope).get("accept", "") and not route_path(scope).startswith("/api/")


async def on_fault(request: Request, _error: Exception) -> Response:
    """Answer when we made a mistake; the server logs the traceback.

    This answer passes no middleware, so it brings its headers along.
    """
    detail, what_to_do = (
        "Skyrelay made a mistake.",
        "The gateway's log has the details; please report them.",
    )
    if not wants_page(request.scope):
        return problem_response(500, detail, what_to_do, headers=SECURITY_HEADERS)
    page = refusal_page(request, 500, detail, what_to_do)
    page.headers.update(SECURITY_HEADERS)
    return page


def refusal_page(request: Request, status: int, detail: str, what_to_do: str) -> Response:
    """Build the page that says what is wrong and what to do."""
    return render("problem.html", status, root=way_to_root(request), detail=detail, what_to_do=what_to_do)


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith(MEDIA_TYPE)


def _page_of(scope: Scope, start: Message, body: bytes) -> Response:
    # Without a body (an answer to HEAD) there are no words to show, and nobody to show them to.
    problem = cast("dict[str, Any]", json.loads(body or b"{}"))
    words = (problem.get("detail", ""), problem.get("what_to_do", ""))
    page = refusal_page(Request(scope), start["status"], *words)
    kept = MutableHeaders(raw=[each for each in start["headers"] if each[0].decode() not in _OF_THE_BODY])
    page.headers.update(kept)
    return page
