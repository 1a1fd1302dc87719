"""Errors as people and programs read them: ``application/problem+json`` (RFC 9457).

Each says what to do. No traceback and nothing that the caller sent (a password, say) goes back.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.settings import SettingsRefused
from skyrelay.store.page_settings import SettingsMoved

MEDIA_TYPE = "application/problem+json"
_SEE_DOCS = "See /docs for what there is."
_WHAT_TO_DO = {
    400: "Send the request again as /docs describes it.",
    404: _SEE_DOCS,
    405: "Use one of the methods that the Allow header names; /docs lists them.",
    408: "Send it again, faster.",
    413: "Send less: no call takes more than 64 KiB.",
    415: "Send the body as JSON, with the header `Content-Type: application/json`.",
}


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    where: str
    message: str


class ProblemDetails(BaseModel):
    """An error's body; ``what_to_do`` is for a person."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    what_to_do: str
    errors: tuple[FieldProblem, ...] = ()


class Problem(Exception):  # noqa: N818 - RFC 9457's word for it
    """What a route raises to refuse: becomes the answer."""

    def __init__(
        self, status: int, detail: str, what_to_do: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.what_to_do = what_to_do
        self.headers = dict(headers or {})


def not_found(kind: str, name: str, known: Iterable[str]) -> Problem:
    """Build the 404 for a name that is not there; it names the nearest that is."""
    near = nearest(name, known)
    hint = f"Did you mean {near!r}?" if near else f"GET /api/v1/{kind}s lists what there is."
    return Problem(404, f"There is no {kind} {name[:200]!r}.", hint)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is most like ``name``, whatever the case; `None` when none is."""
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[found[0]] if found else None


def problem_response(
    status: int,
    detail: str,
    what_to_do: str,
    *,
    errors: tuple[FieldProblem, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the answer."""
    title = HTTPStatus(status).phrase
    body = ProblemDetails(title=title, status=status, detail=detail, what_to_do=what_to_do, errors=errors)
    return JSONResponse(
        body.model_dump(mode="json"), status, headers={**(headers or {})}, media_type=MEDIA_TYPE
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(SettingsRefused, _on_settings_refused)
    app.add_exception_handler(SettingsMoved, _on_settings_moved)
    app.add_exception_handler(ConfigurationError, _on_wrong_configuration)
    app.add_exception_handler(DBAPIError, on_database_away)
    app.add_exception_handler(PoolTimeout, on_database_away)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 401, 403, 422, 503})
    }


async def _on_problem(_request: Request, error: Exception) -> Response:
    problem = cast("Problem", error)
    return problem_response(problem.status, problem.detail, problem.what_to_do, headers=problem.headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    detail = {
        404: f"There is nothing at {request.url.path[:200]}.",
        405: f"{request.url.path[:200]} does not take {request.method[:20]}.",
    }.get(refusal.status_code, str(refusal.detail))
    what_to_do = _WHAT_TO_DO.get(refusal.status_code, _SEE_DOCS)
    return problem_response(refusal.status_code, detail, what_to_do, headers=refusal.headers)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    invalid = cast("RequestValidationError", error)
    errors = tuple(
        FieldProblem(where=".".join(str(part) for part in each["loc"])[:200], message=_message(each))
        for each in invalid.errors()[:20]
    )
    detail = "; ".join(f"{each.where}: {each.message}" for each in errors[:3])
    return problem_response(422, detail, "Correct what `errors` names; see /docs.", errors=errors)


async def _on_settings_refused(_request: Request, error: Exception) -> Response:
    problems = cast("SettingsRefused", error).problems
    errors = tuple(FieldProblem(where=key[:200], message=problem[:300]) for key, problem in problems[:20])
    detail = "; ".join(f"{each.where}: {each.message}" for each in errors[:3])
    return problem_response(
        422, detail, "Nothing was changed: correct that, and send it again.", errors=errors
    )


async def _on_settings_moved(_request: Request, error: Exception) -> Response:
    return problem_response(412, str(error), "Read the settings again, and say what is still to be changed.")


async def _on_wrong_configuration(_request: Request, error: Exception) -> Response:
    """Answer when the home is not as its configuration says: its key file is missing, say."""
    words = str(error)
    get_logger(__name__).error("the configuration keeps a call from being answered", problem=words)
    detail = f"{words[:1].upper()}{words[1:]}."
    return problem_response(503, detail, "Repair that, then try again. Nothing was changed.")


def _message(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")[:300]


async def on_database_away(_request: Request, error: Exception) -> Response:
    """Answer when the database is away, or not brought to this release yet."""
    get_logger(__name__).warning("the database did not answer", problem=str(getattr(error, "orig", error)))
    return problem_response(
        503, "The database is not ready.", "GET /readyz says why.", headers={"Retry-After": "5"}
    )
