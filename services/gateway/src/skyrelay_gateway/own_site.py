"""Who may speak to the gateway through a person's browser: its own pages alone.

Anybody can make a name of theirs lead to a home's address (DNS rebinding): a page under that name would
then read and change everything here. So the gateway answers only to names that nobody outside can give
away. And what changes something is taken from our own pages alone, whatever else a page manages to send.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from skyrelay.domain.home_address import HOME_DOMAINS
from skyrelay_gateway.problems import problem_response

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class OwnSite:
    """Refuse hosts that are not ours with 421, and changes that another site asks for with 403.

    Parameters
    ----------
    app
        What answers the rest.
    hosts
        Names that are ours too: the setting ``gateway.hosts``.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(_folded(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_ours(headers.getlist("host")):
            answer: ASGIApp = problem_response(
                421,
                "The gateway does not go by the name that was asked for.",
                "Open it by its address, or add the name to gateway.hosts in config.yaml and start it again.",
            )
        elif scope["method"] not in _SAFE_METHODS and not _is_own(headers):
            answer = problem_response(
                403,
                "A page of another site asked for this.",
                "Ask for it on the gateway's own page, or without the header Origin. A reverse proxy must "
                "pass the name on that the browser asked for (docs/security.md).",
            )
        else:
            answer = self._app
        await answer(scope, receive, send)

    def _is_ours(self, hosts: list[str]) -> bool:
        name = _name_of(hosts[0]) if len(hosts) == 1 else None
        return name is not None and (name in self._hosts or is_home_name(name))


def is_home_name(name: str) -> bool:
    """Tell whether a host, in lower case and without its port, can only lead into the home itself.

    Such are addresses, ``localhost`` and other names without a dot, and those in a home's own domains.
    """
    return _is_address(name) or "." not in name or name.endswith(HOME_DOMAINS)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str | None:
    """Give the name in a Host header, without its port; `None` when it holds none."""
    try:
        parts = urlsplit(f"//{host}")
        named = parts.hostname if parts.netloc == host and parts.username is None else None
        return _folded(named) if named and (parts.port is None or parts.port) else None
    except ValueError:  # half a bracket, or a port that is none
        return None


def _folded(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _is_own(headers: Headers) -> bool:
    """Tell whether the page that asks, if one does, is the gateway's own.

    The scheme may differ: a proxy before us may speak HTTPS, and then forwards the host with no port.
    """
    own = headers["host"].lower()
    try:
        return all(urlsplit(origin).netloc.lower() == own for origin in headers.getlist("origin"))
    except ValueError:  # half a bracket
        return False
