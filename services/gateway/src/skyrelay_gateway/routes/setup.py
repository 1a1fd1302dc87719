"""The pages of the first run. They work without JavaScript; each step is kept as soon as it is sent.

Everything here can be done in the file or the environment too: what is set there is shown, and not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Query
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from skyrelay.access.tokens import Scope
from skyrelay.domain.home_address import home_asked_of
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName, TelescopeMessage, TrialMessage
from skyrelay.settings import Settings, SettingsRefused
from skyrelay.settings_page import why_not_writable
from skyrelay.store import trials
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.given_keys import drop_unused
from skyrelay.store.setting_lines import shown, value_of
from skyrelay.store.tables import Telescope, TelescopeTrial
from skyrelay_gateway.context import ConfiguredDep, Gateway, GatewayDep
from skyrelay_gateway.first_run import telescopes as entries
from skyrelay_gateway.first_run.forms import FormDep, file_of, is_checked, number, text
from skyrelay_gateway.first_run.keys import MOST_BYTES, NotAKey, keep_key
from skyrelay_gateway.first_run.login import Tried, try_login
from skyrelay_gateway.first_run.preview import build_preview
from skyrelay_gateway.forms import FORM
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.setting_changes import change
from skyrelay_gateway.telescope_requests import (
    DiscoveryRequest,
    InventoryRequest,
    ask_for_inventory,
    ask_network,
    one_discovery,
)
from skyrelay_gateway.templating import render
from skyrelay_gateway.visits import actor, requires
from skyrelay_gateway.words import telescope_words

router = APIRouter(
    prefix="/setup", include_in_schema=False, route_class=PageRoute, dependencies=[requires(Scope.ADMIN)]
)

STEPS = ("telescopes", "site", "crowdsky", "stacking", "start")
_PATIENCE = timedelta(seconds=15)  # then a person is told where to look why nobody answers
RowId = Annotated[int | None, Query(ge=1, le=2**53)]
Name = Annotated[str, Query(max_length=64)]


@router.get("")
def begin(gateway: GatewayDep) -> Response:
    """Go to the first step that is not done: who comes back goes on where they left."""
    step = "telescopes" if not gateway.settings.telescopes else "start"
    return RedirectResponse(f"setup/{step}", 303)


# -- telescopes ------------------------------------------------------------------------------------------


@router.get("/telescopes")
def telescopes(gateway: GatewayDep, configured: ConfiguredDep, discovery: RowId = None) -> HTMLResponse:
    """Show the telescopes that there are, those that were found, and how to find more."""
    return _telescopes(gateway, configured, discovery)


def _telescopes(
    gateway: Gateway,
    configured: Settings,
    discovery: int | None = None,
    problems: Mapping[str, str] | None = None,
    where: str = "",
) -> HTMLResponse:
    with gateway.store.read() as session:
        rows = {row.name: row for row in session.scalars(select(Telescope))}
        question = one_discovery(session, discovery) if discovery else None
    fixed = {each.name for each in configured.telescopes}
    mine = [
        (each, telescope_words(rows[each.name]) if each.name in rows else "", each.name in fixed)
        for each in gateway.settings.telescopes
    ]
    return _render(
        gateway,
        "telescopes",
        telescopes=mine,
        names={each.name for each in gateway.settings.telescopes},
        discovery=question,
        is_looking=question is not None and question.finished_at is None,
        is_old=question is not None and gateway.clock() - question.asked_at > _PATIENCE,
        problems=problems or {},
        where=where,
    )


@router.post("/telescopes/find", dependencies=[FORM])
def find(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Have the stacker look who is there."""
    where = text(form, "where")
    addresses = (where,) if where else ()
    try:
        for address in addresses:
            home_asked_of(address)
    except ValueError as error:
        return _telescopes(gateway, configured, None, {"where": str(error)}, where)
    with gateway.store.write() as session:
        number_ = ask_network(session, DiscoveryRequest(addresses=addresses), gateway.clock()).id
    try_to_nudge(gateway, TaskName.DISCOVER_TELESCOPES)
    return RedirectResponse(f"../telescopes?discovery={number_}", 303)


@router.get("/telescopes/new")
def new(gateway: GatewayDep, host: Name = "", model: Name = "", name: Name = "") -> HTMLResponse:
    """Show the form of a telescope: an empty one, one that was found, or one that is to be changed."""
    known = next((each for each in gateway.settings.telescopes if each.name == name), None)
    fields: dict[str, Any] = known.model_dump() if known else {"host": host, "name": _name_for(model)}
    return _form(gateway, fields, {})


@router.post("/telescopes/check", dependencies=[FORM])
def check(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Keep the key, if one was given, and have the stacker ask the telescope."""
    entry = entries.read_entry(form, _key_before(gateway, form))
    problems = entries.problems_of(entry)
    if any(each.name == entry["name"] for each in configured.telescopes):
        problems["name"] = "A telescope of this name is set in the file; choose another name."
    if not problems:  # a key is kept for a telescope that is going to be asked
        entry |= _key_kept(configured, form, problems)
    if problems:
        return _form(gateway, {**entry, "watch": is_checked(form, "watch")}, problems)
    watch = is_checked(form, "watch")
    with gateway.store.write() as session:
        number_ = trials.ask(session, entry, watches=watch, now=gateway.clock(), actor=actor()).id
        drop_unused(session, configured.data_dir, gateway.clock())
    try_to_nudge(gateway, TaskName.TRY_TELESCOPE, TrialMessage(trial_id=number_))
    return RedirectResponse(f"checked?trial={number_}", 303)


@router.get("/telescopes/checked")
def checked(gateway: GatewayDep, trial: RowId = None) -> HTMLResponse:
    """Show what came of asking a telescope, what to do, and the form again to do it."""
    with gateway.store.read() as session:
        question = _tested(session, trial)
    outcome = entries.outcome_of(question.answer) if question.answer else None
    fields = {**question.telescope, "watch": question.watches}
    return _form(gateway, fields, {}, trial=_trial_view(question, gateway.clock()), outcome=outcome)


@router.post("/telescopes/add", dependencies=[FORM])
def add(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Add the telescope that was asked."""
    given = text(form, "trial")
    with gateway.store.read() as session:
        question = _tested(session, int(given) if given.isdecimal() and len(given) < 15 else None)
        entry = question.telescope
        changes = entries.with_telescope(session, configured, entry, watches=bool(question.watches))
    try:
        _change(gateway, configured, changes)
    except SettingsRefused as error:
        return _form(gateway, entry, dict(error.problems))
    get_logger(__name__).info("a telescope was added", telescope=entry["name"])
    return RedirectResponse("../telescopes", 303)


@router.post("/telescopes/remove", dependencies=[FORM])
def remove(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Take away a telescope that was added here; its frames and stacks stay in the books."""
    name = text(form, "name")
    with gateway.store.read() as session:
        changes = entries.without_telescope(session, configured, name)
    _change(gateway, configured, changes)
    with gateway.store.read() as session:
        drop_unused(session, configured.data_dir, gateway.clock())
    get_logger(__name__).info("a telescope was taken away", telescope=name[:64])
    return RedirectResponse("../telescopes", 303)


def _form(
    gateway: Gateway,
    fields: Mapping[str, Any],
    problems: Mapping[str, str],
    *,
    trial: Mapping[str, Any] | None = None,
    outcome: entries.Outcome | None = None,
) -> HTMLResponse:
    return _render(
        gateway,
        "telescopes",
        template="telescope",
        fields={"timezone": "auto", "watch": True, "key_path": None, **entries.PORTS, **fields},
        can_watch=entries.can_watch(gateway.settings) or None,
        problems=problems,
        trial=trial,
        outcome=outcome,
        zones=_zones(),
    )


def _key_kept(configured: Settings, form: FormData, problems: dict[str, str]) -> dict[str, str]:
    """Keep the key of a form, and give the part of an entry that names it; nothing where there is none."""
    key = file_of(form, "key_file", MOST_BYTES) or text(form, "key").encode()
    if not key.strip():
        return {}
    try:
        return {"key_path": str(keep_key(configured.data_dir, key))}
    except (NotAKey, SkyrelayError) as error:
        problems["key"] = str(error)
        return {}


def _key_before(gateway: Gateway, form: FormData) -> str | None:
    """Give the key of the look before, or of the telescope as it is: nobody has to choose its file twice."""
    given = text(form, "trial")
    number_ = int(given) if given.isdecimal() and len(given) < 15 else 0
    with gateway.store.read() as session:
        question = session.get(TelescopeTrial, number_)
        if question is not None:
            return question.telescope.get("key_path")
        return entries.key_of(session, text(form, "name"))


def _tested(session: Session, number_: int | None) -> TelescopeTrial:
    row = session.get(TelescopeTrial, number_) if number_ is not None else None
    if row is None:
        raise Problem(404, "This look at a telescope is over.", "Go to /setup/telescopes and begin again.")
    return row


def _name_for(model: str) -> str:
    return "garden" if not model else model.replace("Seestar", "").strip() or "garden"


# -- site, CrowdSky, stacking ----------------------------------------------------------------------------


@router.get("/site")
def site(gateway: GatewayDep) -> HTMLResponse:
    """Ask where the observatory is, and how exactly the network may know."""
    return _settings_page(gateway, "site", zones=_zones())


@router.post("/site", dependencies=[FORM])
def save_site(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Keep the site; empty coordinates stay as they are."""
    changes: dict[str, Any] = {
        f"observatory.{name}": number(form, name) for name in ("latitude", "longitude", "elevation")
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if is_checked(form, "forget"):
        changes = dict.fromkeys(
            ("observatory.latitude", "observatory.longitude", "observatory.elevation"), None
        )
    for name in ("timezone", "share_location", "observer"):
        if name in form:
            changes[f"observatory.{name}"] = text(form, name) or None
    return _saved(gateway, configured, "site", changes, "crowdsky", zones=_zones())


@router.get("/crowdsky")
def crowdsky(gateway: GatewayDep) -> HTMLResponse:
    """Ask for the login at CrowdSky, and whether to take part in the observation network."""
    return _crowdsky(gateway)


@router.post("/crowdsky", dependencies=[FORM])
def save_crowdsky(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Try the login and keep it, unless CrowdSky says that it is wrong."""
    changes: dict[str, Any] = {}
    if "deliver" in form:
        changes["crowdsky.enabled"] = text(form, "deliver") != "no"
        if changes["crowdsky.enabled"]:
            changes["crowdsky.route"] = "raw" if text(form, "deliver") == "raw" else "stack"
    if "scrub" in form:
        changes["crowdsky.scrub_location"] = text(form, "scrub") != "keep"
    if "cloud_url" in form:
        changes["cloud.url"] = text(form, "cloud_url") or None
        changes["cloud.enabled"] = is_checked(form, "cloud")
    username, password = text(form, "username"), text(form, "password")
    tried = None
    if username or password:
        tried = try_login(gateway.settings.crowdsky.base_url, username, SecretStr(password))
        if not tried.is_refused:
            changes |= {"crowdsky.username": username, "crowdsky.password": password}
    problems = _try_to_change(gateway, configured, changes)
    if problems or tried is not None:
        gateway = gateway.in_force(configured)
        return _crowdsky(gateway, problems, tried, username, 422 if problems or _is_refused(tried) else 200)
    return RedirectResponse("stacking", 303)


def _is_refused(tried: Tried | None) -> bool:
    return tried is not None and tried.is_refused


def _crowdsky(
    gateway: Gateway,
    problems: Mapping[str, str] | None = None,
    tried: Tried | None = None,
    username: str = "",
    status_code: int = 200,
) -> HTMLResponse:
    login = settings_in_force(gateway.settings, gateway.store, of=["crowdsky"]).crowdsky
    return _settings_page(
        gateway,
        "crowdsky",
        problems,
        tried=tried,
        has_login=bool(login.username and login.password.get_secret_value()),
        username=username,
        is_login_fixed=bool(gateway.settings.crowdsky.password.get_secret_value()),
        status_code=status_code,
    )


@router.get("/stacking")
def stacking(gateway: GatewayDep) -> HTMLResponse:
    """Ask when to stack, and show what would be stacked."""
    return _stacking(gateway)


@router.post("/stacking", dependencies=[FORM])
def save_stacking(gateway: GatewayDep, configured: ConfiguredDep, form: FormDep) -> Response:
    """Keep when to stack."""
    changes: dict[str, Any] = {}
    if "when" in form:
        changes["stacking.when"] = text(form, "when")
    if "min_exptime" in form:
        changes["stacking.min_exptime"] = number(form, "min_exptime")
    if "exclude" in form:
        patterns = [part.strip() for part in text(form, "exclude").split(",")]
        changes["stacking.exclude"] = [part for part in patterns if part] or None
    problems = _try_to_change(gateway, configured, changes)
    return _stacking(gateway, problems) if problems else RedirectResponse("start", 303)


@router.post("/look", dependencies=[FORM])
def look(gateway: GatewayDep) -> Response:
    """Have the stacker list what lies on each telescope; that changes nothing on it."""
    with gateway.store.write() as session:
        rows = ask_for_inventory(session, InventoryRequest(all=True), gateway.clock())
        ids = [row.id for row in rows]
    for id_ in ids:
        try_to_nudge(gateway, TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=id_))
    return RedirectResponse("stacking", 303)


def _stacking(gateway: Gateway, problems: Mapping[str, str] | None = None) -> HTMLResponse:
    with gateway.store.read() as session:
        preview = build_preview(session, gateway.settings.stacking, gateway.clock())
    return _settings_page(gateway, "stacking", problems, preview=preview, is_looking=preview.is_looking)


# -- the end ---------------------------------------------------------------------------------------------


@router.get("/start")
def summary(gateway: GatewayDep) -> HTMLResponse:
    """Show all of it once more, and the one button."""
    with gateway.store.read() as session:
        preview = build_preview(session, gateway.settings.stacking, gateway.clock())
    login = settings_in_force(gateway.settings, gateway.store, of=["crowdsky"]).crowdsky
    has_login = bool(login.username and login.password.get_secret_value())
    return _settings_page(gateway, "start", preview=preview, has_login=has_login)


@router.post("/start", dependencies=[FORM])
def start(gateway: GatewayDep, configured: ConfiguredDep) -> Response:
    """Let everything act from now on; who presses twice changes nothing."""
    if not gateway.settings.is_set_up:
        _change(gateway, configured, {"setup": "done"})
        get_logger(__name__).info("Start was pressed: the set-up is done")
        try_to_nudge(gateway, TaskName.RECONCILE_STACKING)
        try_to_nudge(gateway, TaskName.RECONCILE_DELIVERIES)
    return RedirectResponse("../", 303)


# -- what they share -------------------------------------------------------------------------------------


def _change(gateway: Gateway, configured: Settings, changes: Mapping[str, Any]) -> None:
    with gateway.store.write() as session:
        change(gateway, session, configured, changes)


def _try_to_change(gateway: Gateway, configured: Settings, changes: Mapping[str, Any]) -> dict[str, str]:
    """Change what differs and can be changed; give what is wrong, by key."""
    wanted = {
        key: value
        for key, value in changes.items()
        if why_not_writable(configured, key) is None and not _is_so(gateway.settings, key, value)
    }
    try:
        if wanted:
            _change(gateway, configured, wanted)
    except SettingsRefused as error:
        return dict(error.problems)
    return {}


def _is_so(settings: Settings, key: str, value: Any) -> bool:
    return value is not None and key in settings.sources and value_of(settings, key) == value


def _saved(
    gateway: Gateway, configured: Settings, step: str, changes: Mapping[str, Any], then: str, **values: Any
) -> Response:
    problems = _try_to_change(gateway, configured, changes)
    if problems:
        return _settings_page(gateway, step, problems, status_code=422, **values)
    return RedirectResponse(then, 303)


def _settings_page(
    gateway: Gateway,
    step: str,
    problems: Mapping[str, str] | None = None,
    *,
    status_code: int = 200,
    **values: Any,
) -> HTMLResponse:
    return _render(gateway, step, status_code=status_code, problems=problems or {}, **values)


def _render(
    gateway: Gateway,
    step: str,
    *,
    template: str = "",
    status_code: int = 200,
    **values: Any,
) -> HTMLResponse:
    settings = gateway.settings
    return render(
        f"setup/{template or step}.html",
        422 if values.get("problems") else status_code,
        step=step,
        steps=STEPS,
        is_set_up=settings.is_set_up,
        settings=settings,
        now=gateway.clock(),
        shown=lambda key: shown(key, value_of(settings, key)),
        why_not=lambda key: why_not_writable(settings, key),
        **values,
    )


def _trial_view(row: TelescopeTrial, now: datetime) -> dict[str, Any]:
    return {
        "id": row.id,
        "is_under_way": trials.is_under_way(row, now),
        "problem": row.problem,
        "is_old": now - row.asked_at > _PATIENCE,
    }


def _zones() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith("posix"))
