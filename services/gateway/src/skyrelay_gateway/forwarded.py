"""What a reverse proxy says about a request, believed of the configured ones alone; and the sub-path."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network
_TOLD_BY_PROXIES = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
)


def route_path(scope: Scope) -> str:
    """Give the path of a request as our routes name it, without what a proxy puts before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Tell whether a text is an address in one of the networks."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


class Forwarded:
    """Make a request what it was before the proxy, and its path one below ``gateway.root_path``.

    Parameters
    ----------
    app
        What answers.
    trusted
        Networks of the proxies whose ``X-Forwarded-*`` is believed; from all others it is taken away.
    root_path
        What the proxy puts before our paths, such as ``/sky``; whether it passes it on or not.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network] = (), root_path: str = "") -> None:
        self._app = app
        self._trusted = trusted
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        before = {**scope, "headers": list(scope["headers"])}
        if scope["client"] and self._is_trusted(scope["client"][0]):
            self._believe(before)
        headers = MutableHeaders(scope=before)
        for name in _TOLD_BY_PROXIES:
            del headers[name]
        if self._root_path and before["path"] == self._root_path:
            await RedirectResponse(f"{self._root_path}/")(before, receive, send)
            return
        self._put_below_root(before)
        await self._app(before, receive, send)

    def _believe(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        client = self._client_of(_values(headers, "x-forwarded-for"))
        if client is not None:
            scope["client"] = (client, 0)
        schemes = _values(headers, "x-forwarded-proto")
        if schemes and schemes[-1] in {"http", "https"}:
            scope["scheme"] = schemes[-1]
        hosts = _values(headers, "x-forwarded-host")
        if hosts:
            MutableHeaders(scope=scope)["host"] = hosts[-1]

    def _client_of(self, chain: Sequence[str]) -> str | None:
        """Give the last address of a chain that is no proxy of ours: those before it can be made up."""
        for address in reversed(chain):
            if _parsed(address) is None:
                return None
            if not self._is_trusted(address):
                return address
        return chain[0] if chain else None

    def _is_trusted(self, address: str) -> bool:
        return is_in(address, self._trusted)

    def _put_below_root(self, scope: Scope) -> None:
        root = self._root_path
        if root and not scope["path"].startswith(f"{root}/"):
            scope["path"] = root + scope["path"]
            scope["raw_path"] = root.encode("ascii") + scope.get("raw_path", b"")
        scope["root_path"] = root


def _values(headers: Headers, name: str) -> list[str]:
    return [value.strip() for line in headers.getlist(name) for value in line.split(",") if value.strip()]


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
