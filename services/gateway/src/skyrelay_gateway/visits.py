"""Who asks, and what each route wants of them.

Every route says in its decorator, or its router in its own, what scope it takes::

    router = APIRouter(prefix="/api/v1", dependencies=[requires(Scope.READ)])

    @router.post("/stack", dependencies=[requires(Scope.CONTROL)])

or that it is `PUBLIC`. A test walks over all routes and fails for one that says nothing; nobody who is
unknown gets as far as to one either (`skyrelay_gateway.guard`).
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from starlette.types import Scope as AsgiScope

from skyrelay.access.tokens import Scope
from skyrelay_gateway.problems import Problem

_LOG_IN = "Log in on the page, or send a token: `Authorization: Bearer …` (`skyrelay token create`)."


class CallerKind(StrEnum):
    """How we know who asks."""

    NOBODY = "nobody"
    ANYBODY = "anybody"  # gateway.auth is none
    BROWSER = "browser"  # logged in with the password
    PROGRAM = "program"  # with a token


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; ``scope`` is `None` for nobody, ``id`` that of the login or the token."""

    kind: CallerKind
    scope: Scope | None = None
    id: int | None = None
    name: str = ""


NOBODY = Caller(CallerKind.NOBODY)
ANYBODY = Caller(CallerKind.ANYBODY, Scope.ADMIN, name="anybody")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, as templates see it.

    ``root_path`` is what a reverse proxy puts before all our paths; ``form_token`` goes into every form;
    ``theme`` is the one that was chosen in this browser, empty where the device's is to be taken.
    """

    caller: Caller = NOBODY
    root_path: str = ""
    form_token: str = ""
    theme: str = ""


_CURRENT: ContextVar[Visit] = ContextVar("visit")


def enter_visit(scope: AsgiScope, visit: Visit) -> None:
    """Make a visit that of the request, for its routes and templates."""
    scope.setdefault("state", {})["visit"] = visit
    _CURRENT.set(visit)


def current_visit() -> Visit:
    """Give the visit of the request that is answered; outside of any, one of nobody."""
    return _CURRENT.get(Visit())


def actor(for_whom: str | None = None) -> str:
    """Name who makes the call that is answered, as the audit log and all histories have it.

    Parameters
    ----------
    for_whom
        For whom the caller says that it asks (a command, for the person who typed it); that is no more than
        its word, so it stands beside its own name.

    Returns
    -------
    str
        ``owner`` (logged in), ``token NAME``, ``anybody`` (where ``gateway.auth`` is none), or ``unknown``.
    """
    caller = current_visit().caller
    name = f"token {caller.name}" if caller.kind is CallerKind.PROGRAM else caller.name or "unknown"
    return f"{name} ({for_whom})" if for_whom else name


async def visit_of(request: Request) -> Visit:
    """Give the visit of a request."""
    return cast("Visit", request.scope.get("state", {}).get("visit", Visit()))


VisitDep = Annotated[Visit, Depends(visit_of)]


@dataclass(frozen=True)
class Requirement:
    """What a route takes; ``scope`` is `None` where everybody may come."""

    scope: Scope | None

    async def __call__(self, visit: VisitDep) -> None:
        """Refuse who may not: 401 for nobody, 403 for a token that may do less."""
        if self.scope is None:
            return
        held = visit.caller.scope
        if held is None:
            raise unknown_caller()
        if not held.includes(self.scope):
            raise Problem(
                403,
                f"This token may only {held}; this takes one that may {self.scope}.",
                f"Make one with `skyrelay token create NAME --scope {self.scope}`.",
                {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self.scope}"'},
            )


def requires(scope: Scope) -> Any:
    """Give the dependency of a route, or of all routes of a router, that takes this scope."""
    return Depends(Requirement(scope))


PUBLIC = Depends(Requirement(None))


async def _read_metrics(request: Request, visit: VisitDep) -> None:
    if not request.app.state.gateway.settings.gateway.open_metrics:
        await Requirement(Scope.READ)(visit)


# For /metrics: the scope read, or nothing where `gateway.open_metrics` says so.
METRICS = Depends(_read_metrics)


def unknown_caller() -> Problem:
    """Build the refusal of who shows nothing that we know."""
    return Problem(
        401, "The gateway does not know who asks.", _LOG_IN, {"WWW-Authenticate": 'Bearer realm="skyrelay"'}
    )
