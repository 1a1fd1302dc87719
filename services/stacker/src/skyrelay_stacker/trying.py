"""Try a telescope before it is added: who answers, and to our key. It changes nothing on any telescope."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from skyrelay.domain.home_address import check_home_host, check_home_port, is_home_address
from skyrelay.domain.states import IN_TOUCH, Reach, TelescopeState
from skyrelay.errors import PermanentError, SkyrelayError
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus
from skyrelay.seestar.errors import HostUnknown, NotATelescope
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.service import utc_now
from skyrelay.settings import TelescopeSettings
from skyrelay.settings_page import own_key
from skyrelay.store import trials
from skyrelay.store.given_keys import drop_refused
from skyrelay_stacker.workshop import Workshop

_CONNECT, _REPLY = timedelta(seconds=4), timedelta(seconds=6)  # a person waits for it

RPC_PORT = 4700  # a telescope's own, see docs/configuration.md

Answer = Mapping[str, Any]


def try_telescope(workshop: Workshop, trial_id: int) -> None:
    """Try one telescope, and say what came of it, or why that cannot be."""
    with workshop.store.write() as session:
        row = trials.claim(session, trial_id, utc_now())
    if row is None:
        return
    answer: Answer | None = None
    problem = ""
    try:
        answer = _try(_with_key(workshop.settings.data_dir, row.telescope))
    except (SkyrelayError, OSError) as error:
        problem = str(error)
    except ValueError as error:  # of a field, or an address that leads elsewhere
        problem = f"it cannot be tried: {error}"
    with workshop.store.write() as session:
        finished = trials.finish(session, trial_id, now=utc_now(), answer=answer, problem=problem)
        if finished is not None and answer and answer["state"] == TelescopeState.KEY_REFUSED:
            drop_refused(session, workshop.settings.data_dir, finished)


def _with_key(data_dir: Path, telescope: Mapping[str, Any]) -> TelescopeSettings:
    read = TelescopeSettings.model_validate(telescope)
    if read.key_path is None:
        return read
    return read.model_copy(update={"key_path": Path(own_key(data_dir, str(read.key_path)))})


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


def _try(telescope: TelescopeSettings) -> Answer:
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
