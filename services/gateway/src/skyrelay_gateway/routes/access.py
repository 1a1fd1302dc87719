"""Access: tokens, logins, the password. What changes takes JSON, or no body at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, Response

from skyrelay.access.passwords import WeakPasswordError
from skyrelay.access.tokens import Scope, TokenRefusedError, create_token, list_tokens, revoke_token
from skyrelay.logs import get_logger
from skyrelay_gateway import logins
from skyrelay_gateway.access_models import (
    CallerView,
    Ended,
    NewToken,
    PasswordRequest,
    SessionView,
    TokenRequest,
    TokenView,
)
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.cookies import BROWSER, SESSION, set_cookie
from skyrelay_gateway.problems import Problem, problem_responses
from skyrelay_gateway.security import require_json
from skyrelay_gateway.visits import VisitDep, actor, requires

router = APIRouter(prefix="/api/v1", tags=["access"], responses=problem_responses())

_Id = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/access", dependencies=[requires(Scope.READ)])
def access(visit: VisitDep) -> CallerView:
    """Say who asks, and what they may do: to try a token."""
    caller = visit.caller
    return CallerView(kind=caller.kind, name=caller.name, scope=caller.scope or Scope.READ)


@router.get("/tokens", dependencies=[requires(Scope.ADMIN)])
def tokens(gateway: GatewayDep) -> tuple[TokenView, ...]:
    """List the tokens that are not revoked."""
    with gateway.store.read() as session:
        return tuple(TokenView.model_validate(row, from_attributes=True) for row in list_tokens(session))


@router.post(
    "/tokens",
    status_code=201,
    dependencies=[requires(Scope.ADMIN), Depends(require_json)],
    responses=problem_responses(400, 409, 413, 415),
)
def make_token(gateway: GatewayDep, request: TokenRequest) -> NewToken:
    """Make a token; the answer shows it, this once."""
    try:
        with gateway.store.write() as session:
            row, token = create_token(
                session, request.name, request.scope, now=gateway.clock(), actor=actor()
            )
    except TokenRefusedError as error:
        raise Problem(409, f"{error}.", "GET /api/v1/tokens lists what there is.") from error
    get_logger(__name__).info("a token was made", name=row.name, scope=row.scope)
    return NewToken(id=row.id, name=row.name, scope=request.scope, token=token)


@router.delete("/tokens/{token_id}", dependencies=[requires(Scope.ADMIN)], responses=problem_responses(404))
def revoke(gateway: GatewayDep, token_id: _Id) -> TokenView:
    """Revoke a token: from now on it is worth nothing."""
    try:
        with gateway.store.write() as session:
            row = revoke_token(session, token_id, now=gateway.clock(), actor=actor())
    except TokenRefusedError as error:
        raise Problem(404, f"{error}.", "GET /api/v1/tokens lists what there is.") from error
    get_logger(__name__).info("a token was revoked", name=row.name)
    return TokenView.model_validate(row, from_attributes=True)


@router.get("/sessions", dependencies=[requires(Scope.ADMIN)])
def sessions(gateway: GatewayDep, visit: VisitDep) -> Sequence[SessionView]:
    """List the browsers that are logged in, the one used last first."""
    return logins.list_sessions(gateway, visit)


@router.delete("/sessions", dependencies=[requires(Scope.ADMIN)])
def end_sessions(gateway: GatewayDep) -> Ended:
    """Log out everywhere, here too."""
    return Ended(ended=logins.end_all(gateway))


@router.delete(
    "/sessions/{session_id}", dependencies=[requires(Scope.ADMIN)], responses=problem_responses(404)
)
def end_session(gateway: GatewayDep, session_id: _Id) -> Ended:
    """Log one browser out."""
    if not logins.end_one(gateway, session_id):
        raise Problem(404, f"There is no login {session_id}.", "GET /api/v1/sessions lists what there is.")
    return Ended(ended=1)


@router.post(
    "/password",
    dependencies=[requires(Scope.ADMIN), Depends(require_json)],
    responses=problem_responses(400, 409, 413, 415, 429),
)
def change_password(
    gateway: GatewayDep, request: Request, visit: VisitDep, body: PasswordRequest
) -> Response:
    """Change the password, which ends all logins; the browser that asks is logged in anew."""
    if gateway.settings.gateway.password.get_secret_value():
        raise Problem(
            409, "The configuration names the password.", "Change gateway.password there, and start again."
        )
    person = logins.person_of(request, visit)
    current, new = body.current.get_secret_value(), body.new.get_secret_value()
    try:
        begun = logins.change_password(gateway, person, current, new)
    except WeakPasswordError as error:
        raise Problem(422, f"{error}.", "Take another one.") from error
    except logins.TooEarly as error:
        wait = {"Retry-After": str(math.ceil(error.wait.total_seconds()))}
        raise Problem(429, "Too many wrong passwords.", "Wait as Retry-After says.", wait) from error
    if begun is None:
        raise Problem(403, "That is not the password as it is now.", "Give it as `current`.")
    answer = JSONResponse({"changed": True})
    if visit.form_token:  # a program needs no cookie
        set_cookie(request, answer, SESSION, begun.session)
        set_cookie(request, answer, BROWSER, begun.browser)
    return answer
