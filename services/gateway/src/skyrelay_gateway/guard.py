"""Nobody who is unknown gets any further than to the login.

This stands before all routes and reads no body. What is not named here as open is closed, whether its route
says so or not; what a known caller may do is each route's word (`skyrelay_gateway.visits`).
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from skyrelay.access.owner import is_claimed
from skyrelay.access.sessions import find_session, renew_session, wants_renewal
from skyrelay.access.tokens import Scope as TokenScope
from skyrelay.access.tokens import find_token, note_use, wants_note
from skyrelay.logs import get_logger
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.cookies import SESSION
from skyrelay_gateway.forms import HEADER, form_token, is_from_own_page, is_token_right
from skyrelay_gateway.forwarded import route_path
from skyrelay_gateway.page_frame import theme_of
from skyrelay_gateway.problems import on_database_away, problem_response
from skyrelay_gateway.readiness import check_readiness
from skyrelay_gateway.templating import render
from skyrelay_gateway.visits import ANYBODY, NOBODY, Caller, CallerKind, Visit, enter_visit, unknown_caller

# Answered to everybody, without a look into the database.
OPEN = frozenset({"/healthz", "/readyz"})
OPEN_BELOW = "/static/"
# Answered to everybody, to each as who they are.
OPEN_PAGES = frozenset({"/login", "/welcome", "/logout", "/api/v1/settings/watcher"})
METRICS_PATH = "/metrics"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_BEARER = "bearer "


class Guard:
    """Find out who asks, and turn away who is unknown or was sent by another site.

    Parameters
    ----------
    app
        What answers the rest.
    gateway
        Whose owner, logins and tokens count.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        path = route_path(scope)
        try:
            visit = await self._visit(request, path)
            refusal = await self._refusal(request, path, visit)
        except (DBAPIError, PoolTimeout) as error:
            refusal = await self._not_ready(request, path, error)
        else:
            enter_visit(scope, replace(visit, theme=theme_of(request)))
        await (refusal or self._app)(scope, receive, send)

    async def _visit(self, request: Request, path: str) -> Visit:
        root_path = request.scope.get("root_path", "")
        if path in OPEN or path.startswith(OPEN_BELOW):
            return Visit(root_path=root_path)
        if self._gateway.settings.gateway.auth == "none":
            return Visit(ANYBODY, root_path)
        shown = request.headers.get("authorization", "")
        if shown.lower().startswith(_BEARER):
            token = shown[len(_BEARER) :].strip()
            return Visit(await run_in_threadpool(self._program, token), root_path)
        cookie = request.cookies.get(SESSION, "")
        caller = await run_in_threadpool(self._browser, cookie) if cookie else NOBODY
        return Visit(caller, root_path, form_token(cookie) if caller is not NOBODY else "")

    async def _refusal(self, request: Request, path: str, visit: Visit) -> Response | None:
        if visit.caller.kind is CallerKind.NOBODY and not self._is_open(path):
            return await self._turn_away(request, path, visit)
        if visit.caller.kind is CallerKind.BROWSER and not _may_change(request, path, visit):
            return problem_response(
                403,
                "Nothing says that one of the gateway's own pages asks for this.",
                "Send the header Origin as browsers do; a program shows a token, not the cookie of a login.",
            )
        return None

    def _is_open(self, path: str) -> bool:
        if path == METRICS_PATH:
            return self._gateway.settings.gateway.open_metrics
        return path in OPEN or path in OPEN_PAGES or path.startswith(OPEN_BELOW)

    async def _turn_away(self, request: Request, path: str, visit: Visit) -> Response:
        if not _is_page(request, path):
            problem = unknown_caller()
            return problem_response(
                problem.status, problem.detail, problem.what_to_do, headers=problem.headers
            )
        if not await run_in_threadpool(self._is_claimed):
            return RedirectResponse(f"{visit.root_path}/welcome", 303)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{visit.root_path}/login?next={quote(path + query, safe='')}", 303)

    def _is_claimed(self) -> bool:
        with self._gateway.store.read() as session:
            return is_claimed(session)

    def _program(self, token: str) -> Caller:
        now = self._gateway.clock()
        with self._gateway.store.read() as session:
            found = find_token(session, token)
        if found is None:
            return NOBODY
        if wants_note(found, now):
            with self._gateway.store.write() as session:
                note_use(session, found.id, now)
        return Caller(CallerKind.PROGRAM, TokenScope(found.scope), found.id, found.name)

    def _browser(self, cookie: str) -> Caller:
        now = self._gateway.clock()
        with self._gateway.store.read() as session:
            found = find_session(session, cookie, now)
        if found is None:
            return NOBODY
        if wants_renewal(found, now):
            with self._gateway.store.write() as session:
                renew_session(session, found.id, now)
        return Caller(CallerKind.BROWSER, TokenScope.ADMIN, found.id, "owner")

    async def _not_ready(self, request: Request, path: str, error: Exception) -> Response:
        if not _is_page(request, path):
            return await on_database_away(request, error)
        get_logger(__name__).warning(
            "the database did not answer", problem=str(getattr(error, "orig", error))
        )
        parts = await run_in_threadpool(check_readiness, self._gateway)
        return render("starting.html", 503, theme=theme_of(request), parts=parts)


def _is_page(request: Request, path: str) -> bool:
    """Tell whether a person looks: a program wants an answer, not the way to the login."""
    wants_html = "text/html" in request.headers.get("accept", "")
    return request.method in {"GET", "HEAD"} and wants_html and not path.startswith("/api/")


def _may_change(request: Request, path: str, visit: Visit) -> bool:
    """Tell whether one of our own pages asks, where the browser's cookie would be sent with anything.

    The forms of the login look at their token by themselves.
    """
    if request.method in _SAFE_METHODS or path in OPEN_PAGES:
        return True
    return is_from_own_page(request.headers) or is_token_right(visit, request.headers.get(HEADER, ""))
