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
from skyrelay_gateway.refusal_pages import mark_as_page
from skyrelay_gateway.templating import render
from skyrelay_gateway.texts import text

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose refusals are pages, whoever asks (see `skyrelay_gateway.refusal_pages`)."""

    def get_route_handler(self) -> _Handler:
        """Wrap the route's own handler."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            mark_as_page(request)
            try:
                return await handler(request)
            except RequestValidationError as error:
                raise Problem(422, text("problem.no_such_page"), text("problem.see_menu")) from error
            except (DBAPIError, PoolTimeout):
                return await run_in_threadpool(_starting, request)

        return answer


def _starting(request: Request) -> Response:
    gateway = cast("Gateway", request.app.state.gateway)
    return render("starting.html", 503, root=way_to_root(request), parts=check_readiness(gateway))
