"""What the uploader's use cases work with, put together once a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import STATE_FILE, CredentialStore, NodeCredentials, choose_credentials
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.domain.quiet_hours import quiet_until
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.leases import RENEW_EVERY
from skyrelay.queue.tasks import Message, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import CrowdSkySettings, Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.tables.destinations import CLOUD, CROWDSKY
from skyrelay_uploader.archive import Archive, free_bytes_at
from skyrelay_uploader.bandwidth import Bandwidth
from skyrelay_uploader.server_list import ServerList

ACTOR = "uploader"
UPLOADS_AT_ONCE = 2  # more would only share the same line, and the server's patience
FETCHES_AT_ONCE = 2  # a telescope's Wi-Fi carries one; two telescopes are common


class Slots:
    """A number of places for long work; whoever finds none free goes away instead of waiting.

    The threads of the worker thus never all hang in slow transfers, and short tasks are always served.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Hold a place inside the ``with``; gives `False` when there is none."""
        held = self._free.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                self._free.release()


@dataclass(frozen=True, slots=True)
class Workshop:
    """The collaborators of a use case.

    Attributes
    ----------
    say
        Says "look" to a task's workers; see `skyrelay.queue.celery_app.nudge`.
    clock
        Gives the aware time.
    renew_every
        How often a lease is renewed while its work goes on, by the machine's own clock.
    free_bytes
        Gives what is free on a folder's disk.
    """

    settings: Settings
    store: Store
    say: Callable[[TaskName, Message], object]
    clock: Callable[[], datetime] = utc_now
    renew_every: timedelta = RENEW_EVERY
    free_bytes: Callable[[Path], int] = free_bytes_at
    uploads: Slots = field(default_factory=lambda: Slots(UPLOADS_AT_ONCE))
    fetches: Slots = field(default_factory=lambda: Slots(FETCHES_AT_ONCE))
    confirmations: Slots = field(default_factory=lambda: Slots(1))
    to_cloud: Slots = field(default_factory=lambda: Slots(1))
    server_list: ServerList = field(default_factory=ServerList)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)

    def __post_init__(self) -> None:
        """Tell what all uploads of the process share how fast they may be together."""
        self.bandwidth.allow(self.settings.crowdsky.bandwidth_limit * 1000)

    def in_force(self) -> Self:
        """Give the same with the settings that count now, for one unit of work."""
        return replace(self, settings=settings_in_force(self.settings, self.store, of=()))

    @property
    def may_act(self) -> bool:
        """Whether the set-up is done: before, nothing is fetched and nothing leaves the house."""
        return self.settings.is_set_up

    @property
    def may_send(self) -> bool:
        """Whether anything may be sent to CrowdSky at all."""
        return self.may_act and self.settings.crowdsky.enabled

    @property
    def may_send_to_cloud(self) -> bool:
        """Whether anything may be sent to the node cloud at all."""
        return self.may_act and self.settings.cloud.enabled and bool(self.settings.cloud.url)

    @property
    def archive(self) -> Archive:
        """The archive."""
        return Archive(self.settings.archive_path)

    def quiet_until(self) -> datetime | None:
        """Give when files may be sent again; `None` when they may be now."""
        spans, zone = self.settings.crowdsky.quiet_hours, self.settings.site_zone
        return quiet_until(spans, self.clock(), zone) if spans else None

    def crowdsky_account(self) -> Account:
        """Give the account at CrowdSky as it is configured now."""
        return account_of(settings_in_force(self.settings, self.store, of=["crowdsky"]).crowdsky)

    def crowdsky(self, account: Account) -> CrowdSkyClient:
        """Give a client of an account.

        Raises
        ------
        skyrelay.errors.ConfigurationError
            If its address or user name cannot be used.
        """
        return CrowdSkyClient(account.address, account.user, account.secret)

    def node_credentials(self) -> NodeCredentials | None:
        """Give the node's credentials at the cloud; `None` while it is not registered.

        Raises
        ------
        skyrelay.errors.PermanentError
            If they cannot be used, or cannot be read.
        """
        cloud = settings_in_force(self.settings, self.store, of=["cloud"]).cloud
        kept = CredentialStore(self.settings.data_dir / STATE_FILE)
        is_configured = cloud.node_id and cloud.api_key.get_secret_value()
        found = None if is_configured else kept.load(cloud.url)
        return choose_credentials(cloud.node_id, cloud.api_key, found, kept.file)

    def cloud_account(self, credentials: NodeCredentials | None) -> Account:
        """Give the account at the cloud."""
        node_id, key = ("", SecretStr("")) if credentials is None else _parts(credentials)
        return Account(CLOUD, self.settings.cloud.url, node_id, key, ACTOR)

    def cloud(self) -> CloudClient:
        """Give a client of the cloud."""
        return CloudClient(self.settings.cloud.url)


def account_of(crowdsky: CrowdSkySettings) -> Account:
    """Give the account that a configuration names."""
    return Account(CROWDSKY, crowdsky.base_url, crowdsky.username, crowdsky.password, ACTOR)


def _parts(credentials: NodeCredentials) -> tuple[str, SecretStr]:
    return credentials.node_id, credentials.api_key
