"""Try a login at CrowdSky: ask for the list of stacks, which changes nothing there."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from skyrelay.crowdsky.errors import CredentialsRefused, CrowdSkyError
from skyrelay.errors import ConfigurationError
from skyrelay_gateway.texts import text

_CONNECT_S, _READ_S = 8.0, 20.0  # a person waits for it


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it; ``is_refused``: the login itself is wrong."""

    is_well: bool
    is_refused: bool
    words: str


def try_login(base_url: str, username: str, password: SecretStr) -> Tried:
    """Log in once, and say in plain words what came of it."""
    from skyrelay.crowdsky.client import CrowdSkyClient  # with requests, which only this needs

    try:
        client = CrowdSkyClient(
            base_url, username, password, connect_timeout_s=_CONNECT_S, read_timeout_s=_READ_S
        )
        stacks = client.list_stacks()
    except CredentialsRefused:
        return Tried(False, True, text("setup.crowdsky.refused"))
    except ConfigurationError as error:
        return Tried(False, True, f"{error}.")
    except CrowdSkyError as error:
        return Tried(False, False, text("setup.crowdsky.not_asked", error=error))
    return Tried(True, False, text("setup.crowdsky.works", n=len(stacks)))
