"""Ask the gateway over its REST API, as any other program would: for the commands and the health check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyrelay.access.local_token import read_local_token
from skyrelay.errors import PermanentError, TransientError
from skyrelay.settings import GatewaySettings, Settings

_TIMEOUT_S = 10.0
_WHO_ASKS = (
    "the gateway wants to know who asks: run this as the user and with the data_dir of `skyrelay up`, or "
    "give a token (`skyrelay token create`) as gateway.token or in SKYRELAY_GATEWAY__TOKEN"
)
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def gateway_address(gateway: GatewaySettings) -> str:
    """Give the address at which this machine reaches its gateway, without a slash at the end."""
    host = "127.0.0.1" if gateway.host in _ANY_ADDRESS else gateway.host
    return f"http://{host}:{gateway.port}"


def ask_gateway(settings: Settings, path: str) -> Any:
    """Give the JSON that the gateway answers to ``GET path``.

    The gateway knows us by ``gateway.token``, or by the token that it has put into ``data_dir``.

    Raises
    ------
    TransientError
        If it does not answer: the services are not running, or listen elsewhere.
    PermanentError
        If it refuses, in its own words.
    """
    return _speak(settings, "GET", path)


def tell_gateway(settings: Settings, path: str, body: Mapping[str, Any]) -> Any:
    """Give the JSON that the gateway answers to ``POST path``; raises as `ask_gateway` does."""
    return _speak(settings, "POST", path, json=dict(body))


def _speak(settings: Settings, method: str, path: str, **content: Any) -> Any:
    address = gateway_address(settings.gateway)
    content |= {"headers": _credentials(settings), "timeout": _TIMEOUT_S, "allow_redirects": False}
    import requests  # who only wants the address does not load it

    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy of the environment stands between us and ourselves
            response = session.request(method, address + path, **content)
            answer = response.json()
    except requests.RequestException as error:
        raise TransientError(
            f"the gateway does not answer at {address}: is `skyrelay up` running?"
        ) from error
    if response.status_code == requests.codes.unauthorized:
        raise PermanentError(_WHO_ASKS)
    if not response.ok:
        raise PermanentError(_in_words(answer, response.status_code))
    return answer


def _in_words(problem: Mapping[str, Any], status: int) -> str:
    words = str(problem.get("detail") or problem.get("title") or f"status {status}")
    return f"{words} {problem['what_to_do']}" if problem.get("what_to_do") else words


def newest_night(settings: Settings) -> str:
    """Give the newest night of which there is a frame, as YYYY-MM-DD.

    Raises
    ------
    PermanentError
        If there is none yet.
    """
    nights = ask_gateway(settings, "/api/v1/nights?limit=1")["items"]
    if not nights:
        raise PermanentError("no frame has been seen yet, so there is no night to account for")
    return str(nights[0]["night"])


def _credentials(settings: Settings) -> dict[str, str]:
    token = settings.gateway.token.get_secret_value() or read_local_token(settings.data_dir)
    return {"Authorization": f"Bearer {token}"} if token else {}
