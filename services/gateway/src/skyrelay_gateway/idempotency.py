"""``Idempotency-Key``: a control call that is made twice under one key is carried out once.

The first answer is kept for a day and given again. A call that was refused, or came to nothing, changed
nothing: its key is free again. The dependency comes after those that let a caller in, so an answer is
given again only to who may have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError

from skyrelay.logs import get_logger
from skyrelay.store import idempotency as kept
from skyrelay.store.idempotency import KeptAnswer, KeyInUse, KeyTaken
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.problems import Problem

_CLAIMED = "idempotency_key"
_KEY = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="any text of your own for this call; made again within a day, it is answered as before",
        examples=["3f1c9a52-stack-m81"],
    ),
]


class _AnsweredBefore(Exception):  # noqa: N818 - no fault: it carries the answer past the route
    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__("answered before")
        self.answer = answer


async def claim(request: Request, gateway: GatewayDep, key: _KEY = None) -> None:
    """Begin the call under its key; raises what answers it otherwise."""
    if key is None:
        return
    request_hash = _hash(request, await request.body())
    try:
        before = await run_in_threadpool(_claim, gateway, key, request_hash)
    except KeyInUse as error:
        raise Problem(
            409, "The same call is being carried out right now.", "Ask again in a moment."
        ) from error
    except KeyTaken as error:
        raise Problem(
            422, "Idempotency-Key: stands for another call already.", "Choose a new key for a new call."
        ) from error
    if before is not None:
        raise _AnsweredBefore(before)
    setattr(request.state, _CLAIMED, key)


IDEMPOTENT = Depends(claim)


class IdempotentRoute(APIRoute):
    """A route whose answers are kept under the key that `claim` has taken."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap what FastAPI makes of the route."""
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            try:
                response = await handle(request)
            except _AnsweredBefore as before:
                return _again(before.answer)
            except BaseException:
                await _settle(request, None)
                raise
            await _settle(request, response)
            return response

        return handle_once


def _again(answer: KeptAnswer) -> Response:
    headers = {"Idempotency-Replayed": "true"}
    return Response(answer.body, answer.status, headers, media_type=answer.media_type)


def _hash(request: Request, body: bytes) -> str:
    """Tell calls apart; the body has its own length before it, so that no two run into each other."""
    parts = (request.method.encode(), request.url.path.encode(), request.url.query.encode(), body)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


def _claim(gateway: Gateway, key: str, request_hash: str) -> KeptAnswer | None:
    with gateway.store.write() as session:
        return kept.claim_key(session, key, request_hash, gateway.clock())


async def _settle(request: Request, response: Response | None) -> None:
    key = getattr(request.state, _CLAIMED, None)
    if key is None:
        return
    try:
        await run_in_threadpool(_keep, request.app.state.gateway, key, response)
    except SQLAlchemyError as error:  # the call itself was carried out, or not: that is what is answered
        get_logger(__name__).warning("an answer could not be kept", problem=str(error))


def _keep(gateway: Gateway, key: str, response: Response | None) -> None:
    with gateway.store.write() as session:
        if response is None or not 200 <= response.status_code < 300:
            kept.free_key(session, key)
            return
        body = bytes(response.body).decode()
        kept.keep_answer(session, key, KeptAnswer(response.status_code, response.media_type, body))
