"""The settings: read, changed, and how they came to be."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import JsonValue, RootModel
from redis.exceptions import RedisError

from skyrelay.access.tokens import Scope
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName
from skyrelay.queue.watcher_pass import HEADER, watcher_pass
from skyrelay.store.page_settings import page_values
from skyrelay_gateway.context import ConfiguredDep, GatewayDep
from skyrelay_gateway.models import Page
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.paging import PageDep, cut
from skyrelay_gateway.problems import Problem, problem_responses
from skyrelay_gateway.security import require_json
from skyrelay_gateway.setting_changes import change
from skyrelay_gateway.setting_views import SettingChangeView, SettingsView, history, settings_view
from skyrelay_gateway.visits import PUBLIC, requires

router = APIRouter(prefix="/api/v1/settings", tags=["settings"], responses=problem_responses())

_WATCHERS = ("setup", "telescopes", "image_watcher.")


class SettingChanges(RootModel[dict[str, JsonValue]]):
    """New values by key; null unsets one, so that its default counts. All are taken, or none."""

    model_config = {"json_schema_extra": {"examples": [{"stacking.when": "dawn", "stacking.exclude": None}]}}


IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=200, description="the ETag that was read before")
]


@router.get("", dependencies=[requires(Scope.READ)])
def read_settings(gateway: GatewayDep, configured: ConfiguredDep, response: Response) -> SettingsView:
    """Give all settings, where each comes from, and whether it can be changed here."""
    with gateway.store.read() as session:
        view = settings_view(session, configured, gateway.settings)
    response.headers["ETag"] = _etag(view.version)
    response.headers["Cache-Control"] = "no-store"
    return view


@router.patch(
    "",
    dependencies=[requires(Scope.ADMIN), Depends(require_json)],
    responses=problem_responses(400, 412, 413, 415),
)
def patch_settings(
    gateway: GatewayDep,
    configured: ConfiguredDep,
    changes: SettingChanges,
    response: Response,
    if_match: IfMatch = None,
) -> SettingsView:
    """Change settings. What the file or the environment sets is refused, and so is a wrong value, by name.

    With ``If-Match`` nothing is changed if somebody else has changed something meanwhile.
    """
    with gateway.store.write() as session:
        change(gateway, session, configured, changes.root, expected_version=_version(if_match))
    get_logger(__name__).info("settings were changed", keys=sorted(changes.root))
    try_to_nudge(gateway, TaskName.RECONCILE_STACKING)
    return read_settings(gateway.in_force(configured), configured, response)


@router.get("/history", dependencies=[requires(Scope.READ)])
def read_history(
    gateway: GatewayDep,
    page: PageDep,
    key: Annotated[str | None, Query(max_length=100, description="of this setting alone")] = None,
) -> Page[SettingChangeView]:
    """List what was changed here, when and by whom, the newest first."""
    with gateway.store.read() as session:
        found = list(history(session, key, page.after_id, page.limit + 1))
    items, cursor = cut(found, page.limit, lambda row: str(row.version))
    return Page[SettingChangeView](items=tuple(items), next_cursor=cursor)


@router.get("/watcher", include_in_schema=False, dependencies=[PUBLIC])  # it looks itself who asks
def read_watchers_part(gateway: GatewayDep, request: Request) -> dict[str, Any]:
    """Tell the watcher, which has no database, what the page says of its work."""
    try:
        wanted = watcher_pass(gateway.redis)
    except RedisError as error:
        raise Problem(503, "Redis does not answer.", "It is looked for again.") from error
    given = request.headers.get(HEADER, "")
    if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Problem(403, "This is for the watcher.", "Read /api/v1/settings instead.")
    with gateway.store.read() as session:
        page = page_values(session)
    return {key: value for key, value in page.items() if key.startswith(_WATCHERS)}


def _etag(version: int) -> str:
    return f'"settings-{version}"'


def _version(if_match: str | None) -> int | None:
    """Read an ETag of ours; one that was never given out fits no version."""
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"').removeprefix("settings-")
    return int(number) if number.isdecimal() and len(number) < 18 else -1
