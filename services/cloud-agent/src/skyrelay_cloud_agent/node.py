"""Who the node is at the cloud: its credentials, and the registration that gives them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydantic import SecretStr

from skyrelay.cloud.client import CloudClient, NodeCard, Registration
from skyrelay.cloud.credentials import (
    CredentialStore,
    CredentialsUnreadable,
    NodeCredentials,
    choose_credentials,
)
from skyrelay.cloud.errors import CloudRefused, CredentialsRefused
from skyrelay.errors import PermanentError
from skyrelay.logs import get_logger
from skyrelay.outbox.accounts import Account
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.tables.destinations import CLOUD
from skyrelay_cloud_agent.node_card import node_card

_log = get_logger(__name__)

ACTOR = "cloud-agent"
Login = Callable[[], tuple[str, SecretStr]]  # node_id and api_key as they are configured now, or empty


class Node:
    """The node, for all threads that speak for it.

    Parameters
    ----------
    settings
        The whole configuration.
    client
        Of ``cloud.url``.
    kept
        Where the credentials of a registration are kept.
    login
        Gives the explicit credentials, which win over what is kept.
    """

    def __init__(self, settings: Settings, client: CloudClient, kept: CredentialStore, login: Login) -> None:
        self._settings, self._client, self._kept, self._login = settings, client, kept, login
        self._lock = threading.Lock()
        self._unsaved: NodeCredentials | None = None
        self._refused: NodeCredentials | None = None

    def credentials(self) -> NodeCredentials | None:
        """Give the node's credentials; `None` while it has none.

        Raises
        ------
        PermanentError
            If they cannot be read, or cannot be used.
        """
        node_id, api_key = self._login()
        is_configured = node_id and api_key.get_secret_value()
        kept = None if is_configured else self._unsaved or self._kept.load(self._settings.cloud.url)
        return choose_credentials(node_id, api_key, kept, self._kept.file)

    def usable(self) -> NodeCredentials | None:
        """Give credentials that the cloud has not refused; `None` when there are none such."""
        try:
            found = self.credentials()
        except PermanentError:  # the heartbeat says so
            return None
        return None if found is None or self.is_refused(found) else found

    def is_refused(self, credentials: NodeCredentials) -> bool:
        """Tell whether the cloud has refused these very credentials."""
        return credentials == self._refused

    def note_refused(self, credentials: NodeCredentials) -> None:
        """Use them no more until there are others."""
        self._refused = credentials

    def note_accepted(self) -> None:
        """Keep what could not be written before, now that it is known to be good."""
        self._refused = None
        self._save_unsaved()
        self._bind()

    def register(self) -> NodeCredentials:
        """Register the node; its credentials are on disk, or kept in memory while the disk refuses them.

        Raises
        ------
        skyrelay.errors.SkyrelayError, OSError
            If it is not registered, or its credentials cannot be written.
        """
        with self._lock:
            card = node_card(self._settings, utc_now())
            self._kept.check_writable()
            registration = self._ask(card)
            _log.info("the node is registered", node_id=registration.credentials.node_id)
            if registration.warning:
                _log.warning("the cloud says about the activation", words=registration.warning)
            self._unsaved = registration.credentials
        self._save_unsaved()
        return registration.credentials

    def account(self, credentials: NodeCredentials) -> Account:
        """Give the account of the outbox."""
        url = self._settings.cloud.url
        return Account(CLOUD, url, credentials.node_id, credentials.api_key, ACTOR)

    def _ask(self, card: NodeCard) -> Registration:
        try:
            return self._client.register(card)
        except CredentialsRefused as error:
            raise CloudRefused(f"the registration is refused: {error}") from error

    def _bind(self) -> None:
        try:
            self._kept.bind(self._settings.cloud.url)
        except (CredentialsUnreadable, OSError) as error:  # it goes on with what it has, and tries again
            _log.warning("the file of the node's credentials stays as it is", problem=str(error))

    def _save_unsaved(self) -> None:
        with self._lock:
            if self._unsaved is not None:
                self._kept.save(self._settings.cloud.url, self._unsaved)
                self._unsaved = None
