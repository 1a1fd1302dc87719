"""The application: the endpoints, the controls, and the layer that keeps the journal and shows faults."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Scope

from skyrelay_simulators.crowdsky.endpoints import Endpoints, Refused
from skyrelay_simulators.crowdsky.header import NotFits
from skyrelay_simulators.crowdsky.storage import Storage
from skyrelay_simulators.web.controls import add_controls
from skyrelay_simulators.web.faults import FaultBoard
from skyrelay_simulators.web.journal import Journal
from skyrelay_simulators.web.observed import Observed

_RAW_UPLOAD = "/api/raw_upload.php"
_NAMES = {
    "/api/my_stacks.php": "my_stacks",
    "/api/upload_stack.php": "upload_stack",
    "/api/download_stack.php": "download_stack",
    _RAW_UPLOAD: "raw_upload",
}
_RAW_ACTIONS = {"start": "raw_start", "file": "raw_file", "finalize": "raw_finalize"}
ENDPOINTS = frozenset({"my_stacks", "upload_stack", "download_stack", *_RAW_ACTIONS.values()})


def build_app(endpoints: Endpoints, storage: Storage, faults: FaultBoard, journal: Journal) -> ASGIApp:
    """Wire the application."""
    app = FastAPI(title="CrowdSky simulator", openapi_url=None)
    endpoints.add_to(app)
    add_controls(app, faults, journal)
    _add_own_controls(app, storage)
    _add_error_answers(app)
    return Observed(app, faults, journal, _endpoint)


def _add_own_controls(app: FastAPI, storage: Storage) -> None:
    @app.get("/_sim/uploads")
    def read_uploads() -> list[dict[str, object]]:
        return [stack.to_json() for stack in storage.stacks()]

    @app.post("/_sim/list_all_now")
    def list_all_now() -> dict[str, bool]:
        storage.list_all_now()
        return {"ok": True}


def _add_error_answers(app: FastAPI) -> None:
    """Let every error be ``{"error": "…"}``, as the real server's are."""

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        headers = {"www-authenticate": 'Basic realm="CrowdSky"'} if error.status == 401 else None
        return JSONResponse({"error": error.words}, error.status, headers=headers)

    @app.exception_handler(NotFits)
    def not_fits(_: Request, error: NotFits) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(StarletteHTTPException)
    def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": str(error.errors())}, 422)


def _endpoint(scope: Scope) -> str:
    path: str = scope["path"]
    if path == _RAW_UPLOAD:
        return _RAW_ACTIONS.get(Request(scope).query_params.get("action", ""), _NAMES[path])
    return _NAMES.get(path, path)
