"""Ask the gateway over its REST API, as any other program would: for the commands and the health check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from skyrelay.errors import PermanentError, TransientError
from skyrelay.settings import GatewaySettings

_TIMEOUT_S = 10.0
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def gateway_address(gateway: GatewaySettings) -> str:
    """Give the address at which this machine reaches its gateway, without a slash at the end."""
    host = "127.0.0.1" if gateway.host in _ANY_ADDRESS else gateway.host
    return f"http://{host}:{gateway.port}"


def ask_gateway(gateway: GatewaySettings, path: str) -> Any:
    """Give the JSON that the gateway answers to ``GET path``.

    Raises
    ------
    TransientError
        If it does not answer: the services are not running, or listen elsewhere.
    PermanentError
        If it refuses, in its own words.
    """
    return _speak(gateway, "GET", path)


def tell_gateway(gateway: GatewaySettings, path: str, body: Mapping[str, Any]) -> Any:
    """Give the JSON that the gateway answers to ``POST path``; raises as `ask_gateway` does."""
    return _speak(gateway, "POST", path, json=dict(body))


def _speak(gateway: GatewaySettings, method: str, path: str, **content: Any) -> Any:
    address = gateway_address(gateway)
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy of the environment stands between us and ourselves
            response = session.request(method, address + path, timeout=_TIMEOUT_S, **content)
            answer = response.json()
    except requests.RequestException as error:
        raise TransientError(
            f"the gateway does not answer at {address}: is `skyrelay up` running?"
        ) from error
    if not response.ok:
        raise PermanentError(_in_words(answer, response.status_code))
    return answer


def _in_words(problem: Mapping[str, Any], status: int) -> str:
    words = str(problem.get("detail") or problem.get("title") or f"status {status}")
    return f"{words} {problem['what_to_do']}" if problem.get("what_to_do") else words


def newest_night(gateway: GatewaySettings) -> str:
    """Give the newest night of which there is a frame, as YYYY-MM-DD.

    Raises
    ------
    PermanentError
        If there is none yet.
    """
    nights = ask_gateway(gateway, "/api/v1/nights?limit=1")["items"]
    if not nights:
        raise PermanentError("no frame has been seen yet, so there is no night to account for")
    return str(nights[0]["night"])
