"""The two cookies: one of the login, one by which a browser is known when it logs in again."""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import HTTPConnection
from starlette.responses import Response

from skyrelay.access.sessions import LONGEST

SESSION = "skyrelay_session"
BROWSER = "skyrelay_browser"
_BROWSER_KNOWN_FOR = timedelta(days=400)  # browsers keep none for longer


def set_cookie(request: HTTPConnection, response: Response, name: str, value: str) -> None:
    """Give the browser a cookie: for us alone, over HTTPS alone if that is what it speaks, to no script."""
    lasts = LONGEST if name == SESSION else _BROWSER_KNOWN_FOR
    response.set_cookie(
        name,
        value,
        max_age=int(lasts.total_seconds()),
        path=_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # a link on another page leads here logged in; what changes something checks more
    )


def delete_cookie(request: HTTPConnection, response: Response, name: str) -> None:
    """Take a cookie from the browser."""
    response.delete_cookie(name, path=_path(request), httponly=True, samesite="lax")


def _path(request: HTTPConnection) -> str:
    return request.scope.get("root_path", "") or "/"
