"""Forms that only our own pages can send.

In a template, every form that changes something carries the token::

    <form method="post" action="{{ url('/logout') }}">{{ csrf_field() }} … </form>

and its route takes `FORM` beside its scope::

    @router.post("/logout", dependencies=[requires(Scope.READ), FORM])

The token belongs to the login, so that no other site, and no other login, can give it. A page before any
login (and all pages where ``gateway.auth`` is none) has none to give: there the browser's own word for
where the form was sent from is taken, and without it the form is refused. `fetch` with JSON needs no token:
the guard looks where it comes from, or at the header ``X-CSRF-Token``.
"""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Depends, Request
from markupsafe import Markup
from starlette.datastructures import Headers

from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import CallerKind, Visit, VisitDep

FIELD = "csrf_token"
HEADER = "x-csrf-token"
_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def form_token(session_cookie: str) -> str:
    """Give the token of a login's forms, which tells nothing of the login's cookie."""
    return hmac.new(session_cookie.encode(), b"skyrelay forms", hashlib.sha256).hexdigest()


def csrf_field(visit: Visit) -> Markup:
    """Give the hidden field that every form carries."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, visit.form_token)


def is_from_own_page(headers: Headers) -> bool:
    """Tell whether the browser says that one of our pages asks; without a word it does not.

    An ``Origin`` that is another's was refused before (`skyrelay_gateway.own_site`).
    """
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


def is_token_right(visit: Visit, shown: str) -> bool:
    """Tell whether a form's token is that of this login."""
    return bool(visit.form_token) and hmac.compare_digest(visit.form_token.encode(), shown.encode())


async def _check_form(request: Request, visit: VisitDep) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _TYPES:
        raise Problem(415, "This page takes its own form only.", "Open the page and fill in its form.")
    if visit.caller.kind is CallerKind.BROWSER:
        shown = (await request.form()).get(FIELD)
        is_ours = isinstance(shown, str) and is_token_right(visit, shown)
    else:
        is_ours = is_from_own_page(request.headers)
    if not is_ours:
        raise Problem(
            403, "This form is from another login, or another site.", "Load the page again, then send it."
        )


FORM = Depends(_check_form)
