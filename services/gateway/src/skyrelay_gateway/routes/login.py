"""The pages before everything else: claim, log in, log out."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from skyrelay.access.owner import is_claimed
from skyrelay.access.passwords import WeakPasswordError
from skyrelay.domain.password_rule import MIN_PASSWORD
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.cookies import BROWSER, SESSION, delete_cookie, set_cookie
from skyrelay_gateway.forms import FORM
from skyrelay_gateway.logins import Login, TooEarly, claim_and_log_in, log_in, log_out, person_of
from skyrelay_gateway.own_path import own_path
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.templating import render
from skyrelay_gateway.texts import text
from skyrelay_gateway.visits import PUBLIC, CallerKind, Visit, VisitDep

router = APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=[PUBLIC])

_Text = Annotated[str, Form()]


@router.get("/welcome")
def welcome(gateway: GatewayDep, visit: VisitDep) -> Response:
    """Show the form by which a new Skyrelay is claimed."""
    if visit.caller.kind is CallerKind.ANYBODY or _is_claimed(gateway):
        return _lead(visit, "/")
    return _welcome_page("")


@router.post("/welcome", dependencies=[FORM])
def claim(
    gateway: GatewayDep,
    request: Request,
    visit: VisitDep,
    code: _Text = "",
    password: _Text = "",
    repeated: _Text = "",
) -> Response:
    """Claim: the code from the log, and a new password twice."""
    if visit.caller.kind is CallerKind.ANYBODY or _is_claimed(gateway):
        return _lead(visit, "/")
    if password != repeated:
        return _welcome_page(text("welcome.not_the_same"), code, 422)
    try:
        login = claim_and_log_in(gateway, person_of(request, visit), code, password)
    except WeakPasswordError as error:
        return _welcome_page(f"{str(error).capitalize()}.", code, 422)
    except TooEarly as error:
        return _wait(_welcome_page(_please_wait(error), "", 429), error)
    return (
        _welcome_page(text("welcome.wrong_code"), "", 403)
        if login is None
        else _begun(request, visit, login, "/")
    )


@router.get("/login")
def login_page(gateway: GatewayDep, visit: VisitDep, next: str = "/") -> Response:  # noqa: A002 - its name in addresses
    """Show the form of the login."""
    if visit.caller.scope is not None:
        return _lead(visit, own_path(next))
    return _login_page("", next) if _is_claimed(gateway) else _lead(visit, "/welcome")


@router.post("/login", dependencies=[FORM])
def login(
    gateway: GatewayDep,
    request: Request,
    visit: VisitDep,
    password: _Text = "",
    next: _Text = "/",  # noqa: A002 - its name in addresses
) -> Response:
    """Log in."""
    if visit.caller.kind is CallerKind.ANYBODY:
        return _lead(visit, own_path(next))
    if not _is_claimed(gateway):
        return _lead(visit, "/welcome")
    try:
        begun = log_in(gateway, person_of(request, visit), password)
    except TooEarly as error:
        return _wait(_login_page(_please_wait(error), next, 429), error)
    return (
        _login_page(text("login.wrong"), next, 403) if begun is None else _begun(request, visit, begun, next)
    )


@router.get("/logout")
def logout_page(visit: VisitDep) -> Response:
    """Ask whether to log out: a link alone must not do it."""
    return render("logout.html") if visit.caller.kind is CallerKind.BROWSER else _lead(visit, "/")


@router.post("/logout", dependencies=[FORM])
def logout(gateway: GatewayDep, request: Request, visit: VisitDep) -> Response:
    """Log out."""
    if visit.caller.kind is not CallerKind.BROWSER or visit.caller.id is None:
        return _lead(visit, "/login")
    log_out(gateway, visit.caller.id, person_of(request, visit))
    answer = _lead(visit, "/login")
    delete_cookie(request, answer, SESSION)
    return answer


def _is_claimed(gateway: Gateway) -> bool:
    with gateway.store.read() as session:
        return is_claimed(session)


def _begun(request: Request, visit: Visit, login: Login, wanted: str) -> Response:
    answer = _lead(visit, own_path(wanted))
    set_cookie(request, answer, SESSION, login.session)
    set_cookie(request, answer, BROWSER, login.browser)
    return answer


def _lead(visit: Visit, path: str) -> Response:
    return RedirectResponse(visit.root_path + path, 303)


def _login_page(problem: str, wanted: str, status: int = 200) -> Response:
    return render("login.html", status, problem=problem, next=own_path(wanted))


def _welcome_page(problem: str, code: str = "", status: int = 200) -> Response:
    return render("welcome.html", status, problem=problem, code=code[:20], min_password=MIN_PASSWORD)


def _seconds(error: TooEarly) -> int:
    return math.ceil(error.wait.total_seconds())


def _please_wait(error: TooEarly) -> str:
    return text("login.wait", seconds=_seconds(error))


def _wait(answer: Response, error: TooEarly) -> Response:
    answer.headers["Retry-After"] = str(_seconds(error))
    return answer
