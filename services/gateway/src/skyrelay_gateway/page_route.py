"""How pages answer when something is wrong: with a page, where the API answers with a problem."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from skyrelay_gateway.context import Gateway
from skyrelay_gateway.page_frame import way_to_root
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.readiness import check_readiness
from skyrelay_gateway.templating import render
from skyrelay_gateway.texts import text

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose refusals are pages: of a thing that is not there, of a database that is not ready."""

    def get_route_handler(self) -> _Handler:
        """Wrap the route's own handler."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                return _refusal(request, problem.status, problem.detail, problem.what_to_do)
            except RequestValidationError:
                return _refusal(request, 422, text("problem.no_such_page"), text("problem.see_menu"))
            except (DBAPIError, PoolTimeout):
                return await run_in_threadpool(_starting, request)

        return answer


def _refusal(request: Request, status: int, detail: str, what_to_do: str) -> Response:
    return render("problem.html", status, **_frame(request), detail=detail, what_to_do=what_to_do)


def _starting(request: Request) -> Response:
    gateway = cast("Gateway", request.app.state.gateway)
    return render("starting.html", 503, **_frame(request), parts=check_readiness(gateway))


def _frame(request: Request) -> dict[str, str]:
    return {"root": way_to_root(request)}
