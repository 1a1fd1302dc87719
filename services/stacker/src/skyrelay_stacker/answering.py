"""Answer what a page asks about the network: short looks, which change nothing on any telescope."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from skyrelay.domain.asked import Asked
from skyrelay.domain.home_address import check_home_host, check_home_port, home_asked_of, is_home_address
from skyrelay.domain.states import IN_TOUCH, Reach, TelescopeState
from skyrelay.errors import PermanentError, SkyrelayError
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus
from skyrelay.seestar.discovery import Discovered, broadcast_addresses, discover
from skyrelay.seestar.errors import HostUnknown, NotATelescope
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.service import utc_now
from skyrelay.settings import TelescopeSettings
from skyrelay.store.lookups import LookupKind, claim, finish
from skyrelay.store.tables import Telescope
from skyrelay_stacker.looking import look_at_telescope
from skyrelay_stacker.workshop import Workshop

_LISTEN = timedelta(seconds=3)  # six questions: UDP over Wi-Fi loses some
_CONNECT, _REPLY = timedelta(seconds=4), timedelta(seconds=6)  # a person waits for it

RPC_PORT = 4700  # a telescope's own, see docs/configuration.md

Answer = Mapping[str, Any]


def answer_lookup(workshop: Workshop, lookup_id: int) -> None:
    """Answer one question, or say why that cannot be."""
    with workshop.store.write() as session:
        row = claim(session, lookup_id, utc_now())
    if row is None:
        return
    answer: Answer | None = None
    problem = ""
    try:
        answer = _ANSWERS[LookupKind(row.kind)](workshop, row.question)
    except (SkyrelayError, OSError) as error:
        problem = str(error)
    except (ValueError, ValidationError, KeyError):
        problem = "the question cannot be understood"
    with workshop.store.write() as session:
        finish(session, lookup_id, now=utc_now(), answer=answer, problem=problem)


def _find(workshop: Workshop, question: Answer) -> Answer:
    addresses = [one for text in question.get("addresses", ()) for one in home_asked_of(text)]
    asked: list[str | Asked] = [*(_resolved(each) for each in addresses)]
    if not asked:
        asked = [*broadcast_addresses(), *workshop.settings.asked]
    return {"found": [_as_found(each) for each in discover(asked, listen=_LISTEN)]}


def _as_found(found: Discovered) -> Answer:
    return {
        "serial": found.serial,
        "host": found.host,
        "hosts": list(found.hosts),
        "model": found.model,
        "clients": found.clients,
        "locked": found.locked,
    }


def _resolved(asked: Asked) -> Asked:
    return Asked(_home_address_of(asked.host), asked.port)


def _home_address_of(host: str) -> str:
    """Give the address to go to: the one that was judged, not what its name leads to a moment later."""
    try:
        found = socket.getaddrinfo(check_home_host(host), None, socket.AF_INET, socket.SOCK_STREAM)
    except ValueError as error:
        raise PermanentError(str(error)) from error
    except (OSError, UnicodeError) as error:
        raise HostUnknown(f"{host} gives no address in this network") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_home_address(address) for address in addresses):
        raise PermanentError(f"{host} leads out of this home's network")
    return addresses[0]


def _test(_workshop: Workshop, question: Answer) -> Answer:
    telescope = TelescopeSettings.model_validate(question["telescope"])
    try:
        check_home_port(telescope.rpc_port, RPC_PORT)
        host = _home_address_of(telescope.host)
    except HostUnknown as error:
        return _as_tested(
            None, TelescopeStatus(TelescopeState.UNREACHABLE, str(error), reach=Reach.NO_SUCH_NAME)
        )
    address = TelescopeAddress(
        host=host, rpc_port=telescope.rpc_port, key_path=telescope.key_path, name=telescope.name
    )
    with Seestar(address, connect=_CONNECT, reply=_REPLY) as seestar:
        status = seestar.state()
        try:
            device = seestar.identify() if status.state in IN_TOUCH else None
        except NotATelescope as error:
            return _as_tested(
                None, TelescopeStatus(TelescopeState.UNREACHABLE, str(error), reach=Reach.STRANGER)
            )
    return _as_tested(device, status)


def _as_tested(device: DeviceInfo | None, status: TelescopeStatus) -> Answer:
    """Give what a page may show; never where the telescope stands."""
    return {
        "state": status.state.value,
        "reach": status.reach.value,
        "reason": status.reason,
        "serial": device.serial if device else None,
        "model": device.model if device else "",
        "firmware": device.firmware_text if device else "",
        "timezone": device.zone if device else None,
    }


def _inventory(workshop: Workshop, question: Answer) -> Answer:
    telescope_id = int(question["telescope_id"])
    look_at_telescope(workshop, telescope_id)
    with workshop.store.read() as session:
        row = session.get(Telescope, telescope_id)
    if row is None:
        raise PermanentError("the telescope is not there any more")
    return {"state": row.state, "reason": row.state_reason, "problem": row.inventory_error}


_ANSWERS = {LookupKind.FIND: _find, LookupKind.TEST: _test, LookupKind.INVENTORY: _inventory}
