"""The page with every setting: where it comes from, and a field for those that a page may change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import yaml
from fastapi import APIRouter, Request
from pydantic import JsonValue
from starlette.responses import HTMLResponse, RedirectResponse, Response

from skyrelay.access.tokens import Scope
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName
from skyrelay.settings import Settings, SettingsRefused, setting_fields
from skyrelay.settings_page import is_secret
from skyrelay.store.setting_lines import SettingLine, setting_lines
from skyrelay_gateway.context import ConfiguredDep, Gateway, GatewayDep
from skyrelay_gateway.first_run.forms import FormDep, text
from skyrelay_gateway.forms import FORM
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.page_frame import render_page
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.setting_changes import change
from skyrelay_gateway.visits import VisitDep, requires

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_NO_PROBLEM: Mapping[str, str] = {}


@router.get("/settings", dependencies=[requires(Scope.READ)])
def settings(
    request: Request, gateway: GatewayDep, configured: ConfiguredDep, visit: VisitDep
) -> HTMLResponse:
    """Show every setting."""
    return _page(request, gateway, configured, may_change=visit.caller.scope is Scope.ADMIN)


@router.post("/settings", dependencies=[requires(Scope.ADMIN), FORM])
def change_setting(
    request: Request, gateway: GatewayDep, configured: ConfiguredDep, form: FormDep
) -> Response:
    """Change one setting, or (``unset``) have its default count again."""
    key, written = text(form, "key"), text(form, "value")
    try:
        value = None if text(form, "unset") else written if _is_secret(key) else _read(key, written)
        with gateway.store.write() as session:
            change(gateway, session, configured, {key: value})
    except SettingsRefused as error:
        problems = dict(error.problems)
        kept = {} if _is_secret(key) else {key: written}
        return _page(request, gateway, configured, problems=problems, written=kept, status=422)
    get_logger(__name__).info("a setting was changed", key=key)
    try_to_nudge(gateway, TaskName.RECONCILE_STACKING)
    return RedirectResponse("settings", 303)


def _is_secret(key: str) -> bool:
    return key in setting_fields() and is_secret(key)


def _read(key: str, written: str) -> JsonValue:
    """Read a value as a file could hold it: ``dawn``, ``2.5``, ``[M 31, M 33]``."""
    try:
        value: JsonValue = json.loads(json.dumps(yaml.safe_load(written), default=str))
    except (yaml.YAMLError, ValueError, RecursionError):  # RecursionError: brackets by the thousand
        raise SettingsRefused([(key, "write it as it would stand in config.yaml")]) from None
    return "" if value is None else value


def _page(
    request: Request,
    gateway: Gateway,
    configured: Settings,
    *,
    may_change: bool = True,
    problems: Mapping[str, str] = _NO_PROBLEM,
    written: Mapping[str, str] = _NO_PROBLEM,
    status: int = 200,
) -> HTMLResponse:
    with gateway.store.read() as session:
        lines = list(setting_lines(session, configured, gateway.settings))
        answer = render_page(
            request,
            gateway,
            session,
            "settings.html",
            here="settings",
            sections=_sections(lines),
            may_change=may_change,
            problems=problems,
            elsewhere={key: words for key, words in problems.items() if key not in _fields(lines)},
            written=written,
        )
    answer.status_code = status
    return answer


def _fields(lines: Iterable[SettingLine]) -> frozenset[str]:
    """Name the settings that have a field, beside which a problem is shown."""
    return frozenset(line.key for line in lines if line.writable)


def _sections(lines: Iterable[SettingLine]) -> Mapping[str, list[tuple[SettingLine, str]]]:
    """Give the settings by section, each with its value as a file could hold it; the first has no name."""
    sections: dict[str, list[tuple[SettingLine, str]]] = {"": []}
    for line in lines:
        section = line.key.rpartition(".")[0].partition(".")[0]
        sections.setdefault(section, []).append((line, _written(line.value)))
    return sections


def _written(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
