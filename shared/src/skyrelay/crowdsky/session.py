"""Who is logged in where, for the functions that people script against.

The functions of `skyrelay.crowdsky.server` take no client: they use the session that is current. There is
one a process, which all threads share (a script logs in once and uploads from a pool), and a context
variable can put another one in its place for as long as a block of code runs: so a program can hold two
accounts, and a test needs to put nothing back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import SecretStr

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.settings import CrowdSkySettings, Settings, load_settings
from skyrelay.store.accounts import settings_in_force


class CrowdSkySession:
    """A login and an address, where they differ from the configuration's."""

    def __init__(self) -> None:
        self._login: tuple[str, SecretStr] | None = None
        self._base_url: str | None = None

    def __repr__(self) -> str:
        """Name the server, and nobody."""
        return f"CrowdSkySession({self._base_url!r})"

    def set_credentials(self, username: str, password: str) -> None:
        """Log in as somebody."""
        self._login = (username, SecretStr(password))

    def set_base_url(self, url: str) -> None:
        """Use another server.

        Raises
        ------
        ConfigurationError
            If it is no web address.
        """
        CrowdSkyClient(url, "", "")  # which refuses what is no address
        self._base_url = url.rstrip("/")

    def settings(self) -> Settings:
        """Read the configuration, with this session's login and address in it.

        Where neither has a login, the one that `skyrelay secrets` keeps counts, if there is one.

        Raises
        ------
        ConfigurationError
            If the configuration is wrong, or the key of the kept secrets is.
        TransientError
            If there is no login, and the database that may hold one cannot be read.
        """
        configured = load_settings()
        settings = configured.model_copy(update={"crowdsky": self._changed(configured.crowdsky)})
        return settings if self._login else settings_in_force(settings, of=["crowdsky"])

    def client(self) -> CrowdSkyClient:
        """Give the client; without a login each of its calls raises `CredentialsRefused` unsent."""
        return client_of(self.settings().crowdsky)

    def _changed(self, crowdsky: CrowdSkySettings) -> CrowdSkySettings:
        changes: dict[str, object] = {}
        if self._login is not None:
            changes |= {"username": self._login[0], "password": self._login[1]}
        if self._base_url is not None:
            changes["base_url"] = self._base_url
        return crowdsky.model_copy(update=changes)


def client_of(crowdsky: CrowdSkySettings) -> CrowdSkyClient:
    """Make a client as it is configured.

    Raises
    ------
    ConfigurationError
        If the address or the user name cannot be used.
    """
    return CrowdSkyClient(crowdsky.base_url, crowdsky.username, crowdsky.password)


_current: ContextVar[CrowdSkySession] = ContextVar("crowdsky_session")
_of_the_process = CrowdSkySession()


def current_session() -> CrowdSkySession:
    """Give the session that the public functions use here and now."""
    return _current.get(_of_the_process)


@contextmanager
def new_session() -> Iterator[CrowdSkySession]:
    """Use a session of its own inside the block; the one before is back after it."""
    session = CrowdSkySession()
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
