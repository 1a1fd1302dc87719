"""The page for tokens, logins and the password: what `/api/v1/tokens` and its neighbours do, for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from skyrelay.access.passwords import WeakPasswordError
from skyrelay.access.tokens import Scope, TokenRefusedError, create_token, list_tokens, revoke_token
from skyrelay.domain.password_rule import MAX_PASSWORD, MIN_PASSWORD
from skyrelay.logs import get_logger
from skyrelay_gateway import logins
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.cookies import BROWSER, SESSION, set_cookie
from skyrelay_gateway.first_run import forms as fields
from skyrelay_gateway.first_run.forms import FormDep
from skyrelay_gateway.forms import FORM
from skyrelay_gateway.page_frame import render_page
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.texts import text
from skyrelay_gateway.visits import CallerKind, Visit, VisitDep, actor, requires

router = APIRouter(
    prefix="/access", include_in_schema=False, route_class=PageRoute, dependencies=[requires(Scope.ADMIN)]
)

_BACK = "../access"
_DONE = ("revoked", "ended", "password")  # what was done, as `access.done.…` says it


@router.get("")
def access(
    request: Request, gateway: GatewayDep, visit: VisitDep, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Show the tokens, the browsers that are logged in, and the form for another password."""
    return _page(request, gateway, visit, done=done if done in _DONE else "")


@router.post("/make-token", dependencies=[FORM])
def make_token(request: Request, gateway: GatewayDep, visit: VisitDep, form: FormDep) -> Response:
    """Make a token; the answer shows it, this once."""
    name, scope = fields.text(form, "name"), fields.text(form, "scope")
    try:
        with gateway.store.write() as session:
            row, token = create_token(session, name, _scope(scope), now=gateway.clock(), actor=actor())
    except TokenRefusedError as error:
        problems = {"name": f"{str(error).capitalize()}."}
        return _page(request, gateway, visit, problems, status=422, written={"name": name, "scope": scope})
    get_logger(__name__).info("a token was made", name=row.name, scope=row.scope)
    return _page(request, gateway, visit, made={"name": row.name, "token": token}, status=201)


@router.post("/revoke-token", dependencies=[FORM])
def revoke(request: Request, gateway: GatewayDep, visit: VisitDep, form: FormDep) -> Response:
    """Revoke a token: from now on it is worth nothing."""
    try:
        with gateway.store.write() as session:
            row = revoke_token(session, _id(form), now=gateway.clock(), actor=actor())
    except TokenRefusedError:
        return _page(request, gateway, visit, {"token": text("access.tokens.gone")}, status=404)
    get_logger(__name__).info("a token was revoked", name=row.name)
    return _back("revoked")


@router.post("/end-session", dependencies=[FORM])
def end_session(request: Request, gateway: GatewayDep, visit: VisitDep, form: FormDep) -> Response:
    """Log one browser out."""
    if not logins.end_one(gateway, _id(form)):
        return _page(request, gateway, visit, {"session": text("access.sessions.gone")}, status=404)
    return _back("ended")


@router.post("/end-others", dependencies=[FORM])
def end_others(gateway: GatewayDep, visit: VisitDep) -> Response:
    """Log all browsers out but the one that asks."""
    logins.end_others(gateway, visit)
    return _back("ended")


@router.post("/password", dependencies=[FORM])
def change_password(request: Request, gateway: GatewayDep, visit: VisitDep, form: FormDep) -> Response:
    """Change the password, which ends all logins; the browser that asks is logged in anew."""
    current, new = _typed(form, "current"), _typed(form, "new")
    if _is_configured(gateway):
        return _refused(request, gateway, visit, text("access.password.configured"), 409)
    if new != _typed(form, "repeated"):
        return _refused(request, gateway, visit, text("access.password.not_the_same"), 422)
    try:
        begun = logins.change_password(gateway, logins.person_of(request, visit), current, new)
    except WeakPasswordError as error:
        return _refused(request, gateway, visit, f"{str(error).capitalize()}.", 422)
    except logins.TooEarly as error:
        wait_s = math.ceil(error.wait.total_seconds())
        answer = _refused(request, gateway, visit, text("access.password.wait", seconds=wait_s), 429)
        answer.headers["Retry-After"] = str(wait_s)
        return answer
    if begun is None:
        return _refused(request, gateway, visit, text("access.password.wrong"), 403)
    back = _back("password")
    if visit.caller.kind is CallerKind.BROWSER:
        set_cookie(request, back, SESSION, begun.session)
        set_cookie(request, back, BROWSER, begun.browser)
    return back


def _page(
    request: Request,
    gateway: Gateway,
    visit: Visit,
    problems: Mapping[str, str] | None = None,
    *,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    shown = {"done": "", "made": None, "written": {}, **values}
    sessions = logins.list_sessions(gateway, visit)
    with gateway.store.read() as session:
        return render_page(
            request,
            gateway,
            session,
            "access.html",
            here="settings",
            status_code=status,
            tokens=list_tokens(session),
            sessions=sessions,
            scopes=tuple(Scope),
            problems=problems or {},
            is_configured=_is_configured(gateway),
            lengths=(MIN_PASSWORD, MAX_PASSWORD),
            **shown,
        )


def _refused(request: Request, gateway: Gateway, visit: Visit, problem: str, status: int) -> HTMLResponse:
    return _page(request, gateway, visit, {"password": problem}, status=status)


def _back(done: str) -> RedirectResponse:
    return RedirectResponse(f"{_BACK}?done={done}", 303)


def _scope(written: str) -> Scope:
    if written not in set(Scope):
        raise TokenRefusedError(f"what it may do is one of: {', '.join(Scope)}")
    return Scope(written)


def _id(form: Mapping[str, Any]) -> int:
    """Give the id in a form; 0, which is nobody's, where there is none."""
    written = fields.text(form, "id")
    return int(written) if written.isdecimal() and len(written) < 15 else 0


def _typed(form: Mapping[str, Any], name: str) -> str:
    """Give a password as it was typed, blanks and all."""
    value = form.get(name)
    return value[: MAX_PASSWORD + 1] if isinstance(value, str) else ""


def _is_configured(gateway: Gateway) -> bool:
    return bool(gateway.settings.gateway.password.get_secret_value())
