"""A person changes settings: on a page, or over the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from skyrelay.settings import Settings
from skyrelay.store.page_settings import change_settings
from skyrelay.store.secrets import SecretStore
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.visits import actor


def change(
    gateway: Gateway,
    session: Session,
    configured: Settings,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None = None,
) -> None:
    """Change settings within a writing session; raises as `skyrelay.store.page_settings.change_settings`."""
    change_settings(
        session,
        configured,
        changes,
        secrets=SecretStore(gateway.store, configured.key_path),
        now=gateway.clock(),
        actor=actor(),
        expected_version=expected_version,
    )
