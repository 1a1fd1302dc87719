"""A login belongs to one server: no page has it sent to another.

Where the address of an account is changed, its login is given anew in the same change, or forgotten. A login
that file or environment set keeps its address from being changed anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skyrelay.settings import Settings
from skyrelay.store.secrets import SecretName

# The addresses that a page may change; the others (crowdsky.base_url, mqtt.host) are the file's alone.
LOGINS: Mapping[str, tuple[SecretName, ...]] = {"cloud.url": ("cloud.node_id", "cloud.api_key")}


def unmovable(configured: Settings, before: Settings, after: Settings) -> Iterator[tuple[str, str]]:
    """Name the addresses that are changed though their login is not the page's, each with why not."""
    for key in _moved(before, after):
        login = next(
            (name for name in LOGINS[key] if _value(configured, name) and name in configured.sources), None
        )
        if login is not None:
            yield (
                key,
                f"belongs to {login}, which is set in the {configured.sources[login]}: set it there as well",
            )


def forgotten(before: Settings, after: Settings, changes: Mapping[str, Any]) -> Iterator[SecretName]:
    """Name the parts of logins that were for another server, and are not given anew."""
    for key in _moved(before, after):
        yield from (name for name in LOGINS[key] if name not in changes)


def _moved(before: Settings, after: Settings) -> Iterator[str]:
    return (key for key in LOGINS if _value(before, key) != _value(after, key))


def _value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)
