"""The application: the endpoints, the controls, and the layer that keeps the journal and shows faults."""

from __future__ import annotations

import re
from dataclasses import asdict

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Scope

from skyrelay_simulators.cloud.answers import Broken, Refused
from skyrelay_simulators.cloud.endpoints import Endpoints
from skyrelay_simulators.cloud.operating import broadcast, give_plan
from skyrelay_simulators.cloud.orders import InterruptOrder, PlanOrder
from skyrelay_simulators.cloud.storage import EVERY_NODE, Storage
from skyrelay_simulators.web.controls import add_controls
from skyrelay_simulators.web.faults import FaultBoard, web_page
from skyrelay_simulators.web.journal import Journal
from skyrelay_simulators.web.observed import CONTROLS, Observed

_NAMES = {
    "/api/v1/nodes/register": "register",
    "/api/v1/nodes/heartbeat": "heartbeat",
    "/api/v1/nodes/me": "me",
    "/api/v1/plan": "plan",
    "/api/v1/interrupts": "interrupts",
    "/api/v1/measurements": "measurements",
    "/api/v1/images": "images",
    "/api/v1/aavso-files": "aavso_files",
}
_ACK = re.compile(r"/api/v1/interrupts/[^/]+/ack")
ENDPOINTS = frozenset({*_NAMES.values(), "ack"})


def build_app(endpoints: Endpoints, storage: Storage, faults: FaultBoard, journal: Journal) -> ASGIApp:
    """Wire the application."""
    app = FastAPI(title="Node cloud simulator", openapi_url=None)
    endpoints.add_to(app)
    add_controls(app, faults, journal)
    _add_looks(app, storage)
    _add_orders(app, storage)
    _add_error_answers(app)
    return Observed(app, faults, journal, _endpoint)


def _add_looks(app: FastAPI, storage: Storage) -> None:
    @app.get("/_sim/nodes")
    def read_nodes() -> list[dict[str, object]]:
        return [node.to_json() for node in storage.nodes()]

    @app.get("/_sim/measurements")
    def read_measurements() -> list[dict[str, object]]:
        return [asdict(measurement) for measurement in storage.measurements()]

    @app.get("/_sim/files")
    def read_files() -> list[dict[str, object]]:
        return [asdict(file) for kind in ("image", "aavso") for file in storage.files(kind)]

    @app.get("/_sim/interrupts")
    def read_interrupts() -> list[dict[str, object]]:
        return [asdict(interrupt) for interrupt in storage.interrupts()]


def _add_orders(app: FastAPI, storage: Storage) -> None:
    @app.post("/_sim/plan")
    def set_plan(order: PlanOrder) -> dict[str, str]:
        return {"plan_id": give_plan(storage, order)}

    @app.delete("/_sim/plan")
    def clear_plan(node_id: str = EVERY_NODE) -> dict[str, bool]:
        storage.put_plan(node_id, None)
        return {"ok": True}

    @app.post("/_sim/interrupts")
    def interrupt(order: InterruptOrder) -> dict[str, int]:
        return {"id": broadcast(storage, order)}

    @app.post("/_sim/nodes/{node_id}/revoke")
    def revoke(node_id: str) -> dict[str, bool]:
        if not storage.revoke(node_id):
            raise HTTPException(404, f"no node {node_id!r}")
        return {"ok": True}


def _add_error_answers(app: FastAPI) -> None:
    """Answer as the real server does: JSON where it means to refuse, web pages where it does not."""

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> Response:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(Broken)
    def broken(_: Request, __: Broken) -> Response:
        return HTMLResponse(web_page("500 Internal Server Error"), 500)

    @app.exception_handler(StarletteHTTPException)
    def http_error(request: Request, error: StarletteHTTPException) -> Response:
        if request.url.path.startswith(CONTROLS):
            return JSONResponse({"error": error.detail}, error.status_code)
        if error.status_code == 404 and request.method == "GET":  # its web site answers every address
            return HTMLResponse(web_page("Boundless Skies"))
        return HTMLResponse(web_page(f"{error.status_code} {error.detail}"), error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": str(error.errors())}, 422)


def _endpoint(scope: Scope) -> str:
    path: str = scope["path"]
    return "ack" if _ACK.fullmatch(path) else _NAMES.get(path, path)
