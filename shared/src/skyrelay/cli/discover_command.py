"""``skyrelay discover``: which telescopes are there, which are configured, and what to do about each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.cli.sightings import Answer, Sighting, sight
from skyrelay.domain.asked import Asked, asked_of
from skyrelay.domain.states import IN_TOUCH, Reach, TelescopeState
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.gateway_client import ask_gateway
from skyrelay.logs import configure_logs
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import TelescopeStatus
from skyrelay.seestar.discovery import Discovered, broadcast_addresses
from skyrelay.seestar.discovery import discover as find
from skyrelay.seestar.errors import NotATelescope
from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay.settings import Settings, TelescopeSettings, load_settings
from skyrelay.store.accounts import settings_in_force

_LISTEN = timedelta(seconds=1.2)  # three questions; the table is promised within three seconds
_ASK = timedelta(seconds=0.6)  # for what is not known by then
_CONNECT = timedelta(seconds=1.5)
_NOBODY = (
    "Are they on and in this network? Broadcasts do not leave Docker's networks: name addresses with "
    "--address, or under discovery.addresses in config.yaml."
)

A = TypeVar("A")
T = TypeVar("T")


def discover(
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address", help="Ask here instead of everywhere: a host, host:port or a network (10.0.0.0/24)."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Find telescopes in the network; exit code 0 only when one answers."""
    configure_logs("discover", level="ERROR")  # what goes wrong is in the table
    settings = settings_in_force(load_settings(config), of=())  # telescopes of the page, too; no secrets
    sightings = _look_around(settings, _whom_to_ask(settings, address or []))
    if as_json:
        typer.echo(json.dumps([sighting.as_json() for sighting in sightings], indent=2))
    else:
        _print(sightings)
    raise typer.Exit(0 if any(sighting.answers for sighting in sightings) else 1)


def _whom_to_ask(settings: Settings, addresses: Iterable[str]) -> tuple[Asked, ...]:
    try:
        asked = [one for address in addresses for one in asked_of(address)]
    except ValueError as error:
        raise ConfigurationError(f"--address {error}") from error
    everywhere = [one for address in broadcast_addresses() for one in asked_of(address)]
    return tuple(asked or (*everywhere, *settings.asked))


def _look_around(settings: Settings, asked: Iterable[Asked]) -> list[Sighting]:
    """Ask everybody by UDP, and meanwhile the configured telescopes what they do; then the others."""
    asking = {each.name: _soon(_ask, _address_of(each, each.host)) for each in settings.telescopes}
    recorded_soon = _soon(_recorded_serials, settings)
    found = find(asked, listen=_LISTEN)
    end = Deadline.after(_ASK)
    recorded = _within(recorded_soon, end, {})
    others = {one.serial: _soon(_ask, _address_of_found(one, settings, recorded)) for one in found}
    return sight(
        settings.telescopes,
        found,
        answers={name: _within(answer, end, Answer()) for name, answer in asking.items()},
        elsewhere={serial: _within(answer, end, Answer()) for serial, answer in others.items()},
        recorded=recorded,
    )


def _soon(work: Callable[[A], T], argument: A) -> Future[T]:
    """Work in a thread that the program does not wait for: a host that swallows packets delays nobody."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work(argument))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, name="discover", daemon=True).start()
    return future


def _within(future: Future[T], end: Deadline, otherwise: T) -> T:
    try:
        return future.result(end.left_s)
    except (TimeoutError, SkyrelayError):  # not in time, or no way to know: the table says so
        return otherwise


def _ask(address: TelescopeAddress) -> Answer:
    """Ask who is there and what it does."""
    with Telescope(address, connect=_CONNECT, reply=_CONNECT) as telescope:
        status = telescope.state()
        if status.state not in IN_TOUCH:
            return Answer(None, status)
        try:
            return Answer(telescope.identify(), status)
        except NotATelescope as error:
            stranger = TelescopeStatus(TelescopeState.UNREACHABLE, str(error), reach=Reach.STRANGER)
            return Answer(None, stranger)


def _recorded_serials(settings: Settings) -> dict[str, str]:
    """Ask the services who the configured telescopes turned out to be; raises when they do not run."""
    telescopes = ask_gateway(settings, "/api/v1/status")["telescopes"]
    return {each["name"]: each["serial"] for each in telescopes if each["serial"]}


def _address_of(telescope: TelescopeSettings, host: str) -> TelescopeAddress:
    return TelescopeAddress(
        host=host,
        rpc_port=telescope.rpc_port,
        http_port=telescope.http_port,
        smb_port=telescope.smb_port,
        smb_share=telescope.smb_share,
        key_path=telescope.key_path,
        name=telescope.name,
    )


def _address_of_found(found: Discovered, settings: Settings, recorded: Mapping[str, str]) -> TelescopeAddress:
    """Give where it answers, with the ports and the key of its configuration, or the usual ones."""
    for telescope in settings.telescopes:
        if found.serial in {telescope.serial, recorded.get(telescope.name)}:
            return _address_of(telescope, found.host)
    return TelescopeAddress(host=found.host, name=f"Seestar {found.serial}")


def _print(sightings: Iterable[Sighting]) -> None:
    table = Table(title="Telescopes", title_justify="left")
    for heading in ("Serial", "Model", "Address", "Name", "State", "In words, and what to do"):
        table.add_column(heading, overflow="fold")
    for sighting in sightings:
        table.add_row(*(escape(cell) for cell in _cells(sighting)))
    console = Console()
    console.print(table if table.row_count else "No telescope answers.")
    if not any(sighting.answers for sighting in sightings):
        console.print(_NOBODY)


def _cells(sighting: Sighting) -> tuple[str, ...]:
    in_use = f"{sighting.clients} programs are connected" if (sighting.clients or 0) > 1 else ""
    locked = "connect_lock is set" if sighting.locked else ""
    words = (sighting.status.reason, in_use, locked, sighting.what_to_do)
    return (
        sighting.serial or "?",
        sighting.model or "?",
        ", ".join(sighting.hosts) or f"({sighting.configured_host})",
        sighting.name or "",
        str(sighting.status.state),
        "; ".join(word for word in words if word),
    )
