"""What is made ready before anybody can come: the password, or the set-up code; the local token."""

from __future__ import annotations

import sys
import threading
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from skyrelay.access.local_token import read_local_token, write_local_token
from skyrelay.access.owner import ensure_password, make_setup_code
from skyrelay.access.tokens import Scope, create_token, find_token
from skyrelay.gateway_client import gateway_address
from skyrelay.logs import get_logger
from skyrelay.settings import GatewaySettings
from skyrelay_gateway.context import Gateway

_ACTOR = "gateway"
_LOCAL_NAME = "programs of this machine"
_AGAIN_AFTER_S = 1.0
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def open_when_ready(gateway: Gateway, stop: threading.Event) -> None:
    """Make access ready as soon as the database answers and has this release's schema."""
    while not stop.is_set():
        try:
            make_access_ready(gateway)
        except DBAPIError:  # the gateway says on /readyz what it waits for
            stop.wait(_AGAIN_AFTER_S)
        else:
            return


def make_access_ready(gateway: Gateway) -> None:
    """Make what is missing, and show the banner where nobody has claimed this Skyrelay yet."""
    now = gateway.clock()
    try:
        _make_local_token(gateway, now)
    except OSError as error:
        get_logger(__name__).error(
            "the token for the commands of this machine cannot be written",
            folder=str(gateway.settings.data_dir),
            problem=str(error),
        )
    if gateway.settings.gateway.auth == "none":
        get_logger(__name__).warning(
            "THERE IS NO LOGIN: whoever reaches the port may do everything (gateway.auth is none)",
            host=gateway.settings.gateway.host,
            port=gateway.settings.gateway.port,
        )
        return
    configured = gateway.settings.gateway.password.get_secret_value()
    if configured:
        ensure_password(gateway.store, gateway.hasher, configured, now=now, actor="configuration")
        return
    code = make_setup_code(gateway.store, gateway.hasher, now=now)
    if code is not None:
        sys.stderr.write(setup_banner(gateway.settings.gateway, code))
        sys.stderr.flush()


def setup_banner(settings: GatewaySettings, code: str) -> str:
    """Give the banner: it is for people, so it is no record of the log."""
    address = (
        f"http://<address of this machine>:{settings.port}"
        if settings.host in _ANY_ADDRESS
        else gateway_address(settings)
    )
    lines = (
        "Welcome to Skyrelay. Nobody has claimed it yet.",
        f"Open     {address}{settings.root_path}/welcome",
        f"Code     {code}",
        "It is good once, until the next start.",
    )
    width = max(map(len, lines)) + 2
    edge = "+" + "-" * width + "+"
    return "\n".join(["", edge, *(f"| {line:<{width - 1}}|" for line in lines), edge, ""]) + "\n"


def _make_local_token(gateway: Gateway, now: datetime) -> None:
    """Put a token into ``data_dir`` unless a good one lies there.

    Who can read it there can read the database too. It is known before it can be read: whoever finds the
    file may come at once.
    """
    kept = read_local_token(gateway.settings.data_dir)
    with gateway.store.write() as session:
        if kept is not None and find_token(session, kept) is not None:
            return
        _, token = create_token(session, _LOCAL_NAME, Scope.CONTROL, now=now, actor=_ACTOR, is_local=True)
    write_local_token(gateway.settings.data_dir, token)
