"""The endpoints of the node cloud's API."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from skyrelay_simulators.cloud.answers import Refused, json_object
from skyrelay_simulators.cloud.judging import check_place, safe_name, taken_measurement
from skyrelay_simulators.cloud.records import StoredNode
from skyrelay_simulators.cloud.storage import Storage
from skyrelay_simulators.web.journal import ReceivedFile
from skyrelay_simulators.web.kept_files import KeptFile
from skyrelay_simulators.web.observed import draft_of

MOST_IMAGE_BYTES = 64 * 1024 * 1024
_MOST_AAVSO_BYTES = 512 * 1024
_SECRETS = ("api_key", "activation_code")  # of a registration: not for the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the server behaves.

    Attributes
    ----------
    activation_codes
        Those that it knows, each good for one registration.
    most_image_bytes
        Longer images are refused.
    """

    activation_codes: frozenset[str] = frozenset()
    most_image_bytes: int = MOST_IMAGE_BYTES


class Endpoints:
    """What ``/api/v1/…`` does."""

    def __init__(self, storage: Storage, rules: Rules) -> None:
        self._storage = storage
        self._rules = rules

    def add_to(self, app: FastAPI) -> None:
        """Put the endpoints into an application."""
        posts: dict[str, Callable[..., Awaitable[Response]]] = {
            "nodes/register": self.register,
            "nodes/heartbeat": self.heartbeat,
            "interrupts/{interrupt_id:int}/ack": self.acknowledge,
            "measurements": self.measurements,
            "images": self.images,
            "aavso-files": self.aavso_files,
        }
        gets = {"nodes/me": self.me, "plan": self.plan, "interrupts": self.interrupts}
        for path, does in posts.items():
            app.add_api_route(f"/api/v1/{path}", does, methods=["POST"])
        for path, gives in gets.items():
            app.add_api_route(f"/api/v1/{path}", gives, methods=["GET"])

    async def register(self, request: Request) -> Response:
        """Enter a node into the registry, or change its entry; its key is in this answer and in no other."""
        card = await _content(request)
        return JSONResponse(await run_in_threadpool(self._register, card))

    async def heartbeat(self, request: Request) -> Response:
        """Take a heartbeat."""
        node, body = await self._login(request), await _content(request)
        conditions = json_object(body.get("conditions"))
        await run_in_threadpool(self._storage.beat, node.node_id, conditions)
        return JSONResponse({"ok": True, "server_time": datetime.now(UTC).isoformat()})

    async def me(self, request: Request) -> Response:
        """Show a node its registry entry."""
        return JSONResponse((await self._login(request)).to_json())

    async def plan(self, request: Request) -> Response:
        """Give a node its plan: items in the order of the TEXT of their start, as the real server does."""
        node = await self._login(request)
        plan = await run_in_threadpool(self._storage.plan, node.node_id)
        if plan is None:
            return JSONResponse({"plan": None, "message": "no observable night window"})
        plan["items"].sort(key=lambda item: str(item.get("startTime", "")))
        return JSONResponse({"plan": plan})

    async def interrupts(self, request: Request) -> Response:
        """Give a node the interrupts that have not expired, those that it acknowledged among them."""
        node, now = await self._login(request), datetime.now(UTC)
        found = await run_in_threadpool(self._storage.interrupts)
        wanted = [
            interrupt.to_row(node.node_id)
            for interrupt in found
            if datetime.fromisoformat(interrupt.expires_at) > now
            and (not interrupt.node_ids or node.node_id in interrupt.node_ids)
        ]
        return JSONResponse({"interrupts": wanted})

    async def acknowledge(self, request: Request, interrupt_id: int) -> Response:
        """Write down that a node has taken an interrupt."""
        node = await self._login(request)
        found = await run_in_threadpool(self._storage.interrupts)
        if interrupt_id not in {interrupt.id for interrupt in found}:
            raise Refused(404, error="unknown interrupt")
        await run_in_threadpool(self._storage.acknowledge, interrupt_id, node.node_id)
        return JSONResponse({"ok": True})

    async def measurements(self, request: Request) -> Response:
        """Take a measurement in, once."""
        node, body = await self._login(request), await _content(request)
        given = json_object(body.get("measurement")) or body  # a bare measurement is taken too
        measurement = taken_measurement(given, node.node_id)
        conditions = json_object(body.get("conditions"))
        number = await run_in_threadpool(self._storage.add_measurement, measurement, conditions)
        return JSONResponse({"ok": True, "id": number} | ({} if number else {"duplicate": True}))

    async def images(self, request: Request) -> Response:
        """Take an image in; one of the same name on the same UTC day is overwritten without a word."""
        node = await self._login(request)
        name, kept = await self._file(request, missing="no file in upload")
        if kept.size > self._rules.most_image_bytes:
            kept.path.unlink()
            raise Refused(400, error="image rejected or storage failed")
        name = safe_name(name, "image.fits")
        file = await run_in_threadpool(self._storage.add_image, node.node_id, name, kept)
        return JSONResponse({"ok": True, "stored": f"raw_images/{file.node_id}/{file.day}/{file.name}"})

    async def aavso_files(self, request: Request) -> Response:
        """Take a text file in."""
        node = await self._login(request)
        name, kept = await self._file(request, missing="no file")
        if kept.size > _MOST_AAVSO_BYTES:
            kept.path.unlink()
            raise Refused(400, error="file too large")
        name = safe_name(name, "obs.txt")
        file = await run_in_threadpool(self._storage.add_aavso_file, node.node_id, name, kept)
        return JSONResponse({"ok": True, "path": f"{file.day}/{file.name}"})

    def _register(self, card: dict[str, Any]) -> dict[str, str]:
        code = str(card.pop("activation_code", "") or "").strip().upper()
        check_place(card)
        node_id = str(card.get("node_id") or f"node_{secrets.token_hex(4)}")
        node = self._storage.put_node(node_id, card | {"node_id": node_id})
        if node is None:
            raise Refused(400, error="node_id already registered with a different API key")
        warning = self._activate(code, node_id) if code else None
        answer = {"node_id": node.node_id, "api_key": node.api_key}
        return answer | ({"activation_warning": warning} if warning else {})

    def _activate(self, code: str, node_id: str) -> str | None:
        """Use a code up; give what is wrong with it. The registration stands all the same."""
        if code not in self._rules.activation_codes:
            return f"activation code not found: {code}"
        return None if self._storage.use_code(code, node_id) else "activation code already used"

    async def _login(self, request: Request) -> StoredNode:
        node_id, key = request.headers.get("x-node-id", ""), request.headers.get("x-api-key", "")
        node = await run_in_threadpool(self._storage.node, node_id)
        if node is None or node.revoked or not hmac.compare_digest(node.api_key.encode(), key.encode()):
            raise Refused(401, error="invalid node credentials")
        draft_of(request).user = node_id
        return node

    async def _file(self, request: Request, *, missing: str) -> tuple[str, KeptFile]:
        """Keep the file of a form; give the name that it was sent under, too."""
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Refused(400, error=missing)
            name = file.filename or ""
            kept = await run_in_threadpool(self._storage.keep_file, file.file, ".file")
        draft_of(request).files.append(ReceivedFile("file", name, kept.size, kept.sha256))
        return name, kept


async def _content(request: Request) -> dict[str, Any]:
    """Read the body; what is no JSON at all counts as nothing, as the real server has it."""
    try:
        content = json.loads(await request.body())
    except ValueError:
        content = None
    body = json_object(content)
    draft_of(request).content = {name: value for name, value in body.items() if name not in _SECRETS}
    return body
