"""What goes for every request and answer: sizes are bounded, browsers are told to be strict."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyrelay_gateway.forwarded import route_path
from skyrelay_gateway.problems import problem_response

MAX_BODY_BYTES = 64 * 1024  # no call takes more than a few names
MAX_BODY_S = 20.0  # for all of it to arrive; the connection itself is dropped a little later
MAX_HEADERS = 100  # a browser sends about twenty
MAX_HEADER_BYTES = 32 * 1024  # with the path; the server itself bounds only what it waits for
_TOO_MUCH = (
    "There are too many headers, or too long ones.",
    "Delete the browser's cookies of this address, or ask for less at once.",
)
SECURITY_HEADERS = {
    # Everything is served by the gateway itself: no inline script or style, no other host, no frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" browsers would not say of our own forms either where they come from (Origin: null).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

# Flower's own pages, which we do not write, style their elements inline; scripts stay strict.
_FLOWER_POLICY = SECURITY_HEADERS["Content-Security-Policy"].replace(
    "style-src 'self'", "style-src 'self' 'unsafe-inline'"
)


class SecurityHeaders:
    """Put `SECURITY_HEADERS` on every answer, and keep answers about the night out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if route_path(scope).startswith("/flower"):
                    headers["Content-Security-Policy"] = _FLOWER_POLICY
                if "etag" not in headers:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HeaderLimit:
    """Refuse requests with more than `MAX_HEADERS`, or `MAX_HEADER_BYTES` of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_too_much = scope["type"] == "http" and _is_too_much(scope)
        refusal = problem_response(431, *_TOO_MUCH)
        await (refusal if is_too_much else self._app)(scope, receive, send)


def _is_too_much(scope: Scope) -> bool:
    headers = scope["headers"]
    size = len(scope["path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in headers)
    return len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES


class BodyLimit:
    """Refuse bodies of more than `MAX_BODY_BYTES`, whatever they announce, and those that drip in.

    Parameters
    ----------
    app
        What answers.
    within_s
        How long a whole body may take.
    """

    def __init__(self, app: ASGIApp, within_s: float = MAX_BODY_S) -> None:
        self._app = app
        self._within_s = within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        received = 0
        deadline = asyncio.get_running_loop().time() + self._within_s
        is_whole = False

        async def receive_bounded() -> Message:
            nonlocal received, is_whole
            if is_whole:
                return await receive()  # who waits for the caller's going may wait for long
            # Both are raised where a route reads the body, so that they become problems like any other.
            if not announced.isdecimal() or int(announced[:12]) > MAX_BODY_BYTES:
                raise HTTPException(413)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "The body of the request took too long to arrive.") from error
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_bounded, send)


async def require_json(request: Request) -> None:
    """Refuse what a page of another site could send without being asked: forms, and bodies without a type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "This call takes JSON only.")
