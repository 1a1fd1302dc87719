"""The API's reference as a page of our own, made from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

from skyrelay.access.tokens import Scope
from skyrelay_gateway.page_frame import way_to_root
from skyrelay_gateway.templating import render
from skyrelay_gateway.visits import requires

router = APIRouter(include_in_schema=False, dependencies=[requires(Scope.READ)])


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    tag: str
    description: str
    parameters: tuple[_Field, ...]
    body: tuple[_Field, ...]
    answers: tuple[tuple[str, str, str], ...]  # (status, description, schema's name)


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    description: str
    fields: tuple[_Field, ...]


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """Show the API's reference."""
    document = request.app.openapi()
    return render(
        "reference.html",
        root=way_to_root(request),
        info=document["info"],
        calls=tuple(_calls(document)),
        models=tuple(_models(document)),
    )


@router.get("/openapi.json")
async def document(request: Request) -> JSONResponse:
    """Give the OpenAPI document, for programs."""
    root_path = request.scope.get("root_path", "")
    servers = {"servers": [{"url": root_path}]} if root_path else {}
    return JSONResponse({**request.app.openapi(), **servers})


@router.get("/api/docs")
async def reference_elsewhere() -> RedirectResponse:
    """Lead those who look for the reference under /api to it."""
    return RedirectResponse("../docs")


def _calls(document: dict[str, Any]) -> Iterator[_Call]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield _Call(
                method=method.upper(),
                path=path,
                tag=next(iter(call.get("tags", ())), ""),
                description=call.get("description", ""),
                parameters=tuple(_parameters(call)),
                body=tuple(_body(document, call)),
                answers=tuple(_answers(call)),
            )


def _parameters(call: dict[str, Any]) -> Iterator[_Field]:
    for parameter in call.get("parameters", ()):
        schema = parameter["schema"]
        description = parameter.get("description", schema.get("description", ""))
        yield _Field(parameter["name"], _kind(schema), parameter.get("required", False), description)


def _body(document: dict[str, Any], call: dict[str, Any]) -> Iterator[_Field]:
    for content in call.get("requestBody", {}).get("content", {}).values():
        name = _kind(content["schema"])
        yield from _fields(document["components"]["schemas"].get(name, {}))


def _answers(call: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for status, answer in call["responses"].items():
        schemas = [_kind(content.get("schema", {})) for content in answer.get("content", {}).values()]
        yield status, answer["description"], ", ".join(schemas)


def _models(document: dict[str, Any]) -> Iterator[_Model]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        values = " | ".join(str(value) for value in schema.get("enum", ()))
        yield _Model(name, values or schema.get("description", ""), tuple(_fields(schema)))


def _fields(schema: dict[str, Any]) -> Iterator[_Field]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield _Field(name, _kind(field), name in required, field.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    """Name the type of a schema: ``integer``, ``list of BlockView``, ``string or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "const" in schema:
        return repr(schema["const"])
    return str(schema.get("format") or schema.get("type") or "any")
