"""Flower behind the gateway's own port, to look at: what would change something there is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from skyrelay.access.tokens import Scope
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.visits import requires

if TYPE_CHECKING:  # where nobody looks at Flower it is not loaded: a Pi's memory is small
    import requests

router = APIRouter(prefix="/flower", include_in_schema=False, dependencies=[requires(Scope.READ)])

_LOOKS_THINGS_UP = frozenset({"tasks/datatable"})  # Flower asks for its table of tasks by POST
_TIMEOUT_S = (2.0, 15.0)
_CHUNK_BYTES = 65536
_PASSED_ON = ("content-type", "etag", "last-modified", "cache-control", "location")


@router.get("")
@router.get("/{path:path}")
def look(gateway: GatewayDep, request: Request, path: str = "") -> StreamingResponse:
    """Show a page of Flower."""
    return _pass_on(gateway, request, "GET", path, None)


@router.post("/{path:path}")
async def look_up(gateway: GatewayDep, request: Request, path: str) -> StreamingResponse:
    """Answer what Flower's own pages look up by POST; its buttons for workers and tasks stay off."""
    if path not in _LOOKS_THINGS_UP:
        raise HTTPException(
            403, "Flower is shown here to look at. Use the gateway's own calls to change things."
        )
    body = await request.body()
    return await run_in_threadpool(_pass_on, gateway, request, "POST", path, body)


def _pass_on(
    gateway: GatewayDep, request: Request, method: str, path: str, body: bytes | None
) -> StreamingResponse:
    """Ask the configured Flower, and nobody else, and hand its answer on."""
    if {".", ".."} & set(path.split("/")):
        raise HTTPException(404)
    url = f"{gateway.settings.flower.url}{gateway.settings.flower_path}/{quote(path)}"
    headers = (
        {"Content-Type": request.headers["content-type"]}
        if body and "content-type" in request.headers
        else {}
    )
    import requests

    session = requests.Session()
    session.trust_env = False  # what the environment calls its proxy is not asked for our own house
    try:
        answer = session.request(
            method, url, params=request.query_params.multi_items(), data=body, headers=headers,
            timeout=_TIMEOUT_S, stream=True, allow_redirects=False,
        )  # fmt: skip
    except requests.RequestException as error:
        session.close()
        raise HTTPException(503, "Flower does not answer. Is its process running?") from error
    passed_on = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return StreamingResponse(_chunks(session, answer), status_code=answer.status_code, headers=passed_on)


def _chunks(session: requests.Session, answer: requests.Response) -> Iterator[bytes]:
    with session, answer:
        yield from answer.iter_content(_CHUNK_BYTES)
