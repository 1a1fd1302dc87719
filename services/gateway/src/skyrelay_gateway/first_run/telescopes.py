"""A telescope as a form describes it, and what came of asking it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from skyrelay.domain.home_address import check_home_host, check_home_port
from skyrelay.domain.states import IN_TOUCH, Reach, TelescopeState
from skyrelay.domain.telescope_words import words_of
from skyrelay.settings import Settings, TelescopeSettings
from skyrelay.settings_page import why_not_writable
from skyrelay.smb_path import SmbPath
from skyrelay.store.page_settings import page_values
from skyrelay_gateway.first_run.forms import number, text

PORTS = {"rpc_port": 4700, "http_port": 80, "smb_port": 445}
SHARE, FOLDER = "EMMC Images", "MyWorks"  # as every model seen so far calls them
_AGAIN = "Then check again."
_STATE_REMEDIES = {
    TelescopeState.KEY_MISSING: f"Its firmware (7.18 and later) asks for a key. Give it below. {_AGAIN}",
    TelescopeState.KEY_REFUSED: f"Give the key that belongs to this telescope below. {_AGAIN}",
}
_REACH_REMEDIES = {
    Reach.ABSENT: f"Switch it on, and see in its app that it is in this Wi-Fi. {_AGAIN}",
    Reach.SILENT: f"Switch it on or wake it with its app, and see that it is in this Wi-Fi. {_AGAIN}",
    Reach.REFUSED: "Wait a minute if it has just been switched on, or correct the address. " + _AGAIN,
    Reach.PROGRAM_SILENT: f"Switch it off and on. {_AGAIN}",
    Reach.NO_SUCH_NAME: f"Give its address, as its app or your router shows it. {_AGAIN}",
    Reach.NO_NETWORK: f"Connect this server to the network that the telescope is in. {_AGAIN}",
    Reach.STRANGER: f"Correct the address: this is no Seestar. {_AGAIN}",
    Reach.BROKE_OFF: f"Bring it nearer to the Wi-Fi. {_AGAIN}",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking a telescope, in words."""

    is_well: bool
    words: str
    reason: str
    what_to_do: str


def read_entry(form: Mapping[str, Any], key_path: str | None) -> dict[str, Any]:
    """Read a telescope from a form, as the settings hold it."""
    ports = {name: number(form, name) for name in PORTS}
    given = {name: value for name, value in ports.items() if value not in {None, PORTS[name]}}
    entry = {"name": text(form, "name"), "host": text(form, "host"), **given}
    zone = text(form, "timezone")
    return entry | ({"timezone": zone} if zone else {}) | ({"key_path": key_path} if key_path else {})


def problems_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Say what is wrong with a telescope's fields, by field."""
    problems: dict[str, str] = {}
    try:
        TelescopeSettings.model_validate(dict(entry))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(each["loc"][0]) if each["loc"] else "name"
            problems[name] = _WORDS.get(name) or str(each["msg"]).removeprefix("Value error, ")
    checks: list[tuple[str, Callable[[], object]]] = [
        ("host", lambda: check_home_host(str(entry["host"]))),
        *((name, partial(_check_port, entry, name)) for name in PORTS),
    ]
    for name, check in checks:
        if name not in problems:
            problems |= _problem(name, check)
    return problems


def _check_port(entry: Mapping[str, Any], name: str) -> None:
    check_home_port(int(entry.get(name, PORTS[name])), PORTS[name])


def _problem(name: str, check: Callable[[], object]) -> dict[str, str]:
    try:
        check()
    except ValueError as error:
        return {name: str(error)}
    return {}


_WORDS = {
    "name": "Give it a name of letters, digits, spaces, dots or dashes.",
    "host": "Give its address, such as 192.168.1.50.",
}


def outcome_of(answer: Mapping[str, Any]) -> Outcome:
    """Put what a look at a telescope found into words."""
    state, reach = TelescopeState(answer["state"]), Reach(answer["reach"])
    if state in IN_TOUCH:
        who = " ".join(part for part in (answer["model"], f"(serial {answer['serial']})") if part)
        firmware = f", firmware {answer['firmware']}" if answer["firmware"] else ""
        return Outcome(True, f"It answers: {who}{firmware}", str(answer["reason"]), "")
    remedy = _STATE_REMEDIES.get(state) or _REACH_REMEDIES.get(reach, _AGAIN)
    reason = "" if state in _STATE_REMEDIES else str(answer["reason"])  # it speaks of the file's key_path
    return Outcome(False, words_of(state, reach), reason, remedy)


def with_telescope(
    session: Session, settings: Settings, entry: Mapping[str, Any], *, watches: bool
) -> dict[str, Any]:
    """Give the changes of settings that add a telescope, or put it in the place of the one there was.

    That is its namesake, or, where it has another name now, the one at its address.
    """
    page = page_values(session)
    kept = page.get("telescopes", [])
    others = [
        each for each in kept if each["name"] != entry["name"] and _address_of(each) != _address_of(entry)
    ]
    changes: dict[str, Any] = {"telescopes": [*others, dict(entry)]}
    roots = _roots_without(page, str(entry["name"]), *(each["name"] for each in kept if each not in others))
    if can_watch(settings):
        root = {"path": share_of(entry), "telescope": entry["name"]}
        changes["image_watcher.watch_path"] = [*roots, *([root] if watches else [])] or None
        changes["image_watcher.enabled"] = bool(changes["image_watcher.watch_path"]) or None
    return changes


def without_telescope(session: Session, settings: Settings, name: str) -> dict[str, Any]:
    """Give the changes of settings that take a telescope away that the page had added."""
    page = page_values(session)
    left = [each for each in page.get("telescopes", []) if each["name"] != name]
    roots = _roots_without(page, name)
    changes: dict[str, Any] = {"telescopes": left or None}
    if can_watch(settings) and "image_watcher.watch_path" in page:
        changes |= {"image_watcher.watch_path": roots or None, "image_watcher.enabled": bool(roots) or None}
    return changes


def can_watch(settings: Settings) -> bool:
    """Tell whether the page may say what is watched."""
    keys = ("image_watcher.enabled", "image_watcher.watch_path")
    return all(why_not_writable(settings, key) is None for key in keys)


def share_of(entry: Mapping[str, Any]) -> str:
    """Give the address of a telescope's share."""
    port = entry.get("smb_port", PORTS["smb_port"])
    return str(SmbPath(str(entry["host"]), SHARE, FOLDER, int(port)))


def _address_of(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry["host"], entry.get("rpc_port", PORTS["rpc_port"])


def _roots_without(page: Mapping[str, Any], *names: str) -> list[Any]:
    roots = page.get("image_watcher.watch_path") or []
    return [each for each in roots if not (isinstance(each, Mapping) and each.get("telescope") in names)]
