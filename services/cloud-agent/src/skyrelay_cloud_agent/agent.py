"""The node's life in the network: get credentials once, then a heartbeat at each interval.

One thread does it, so that a server that hangs holds up neither the process's end nor its own beat.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from skyrelay.cloud.client import CloudClient, NodeCard, Registration
from skyrelay.cloud.credentials import CredentialStore, NodeCredentials, choose_credentials
from skyrelay.cloud.errors import CloudRefused, CredentialsRefused
from skyrelay.errors import PermanentError, TransientError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay_cloud_agent.node_card import node_card, utc_offset_h

_log = get_logger(__name__)

_FIRST_RETRY = timedelta(seconds=2)
_LONGEST_RETRY = timedelta(minutes=10)
_JITTER = 0.25  # of a delay, so that a thousand nodes do not come back in the same second
_LOOK_AGAIN = timedelta(seconds=30)  # whether refused credentials were replaced by hand; reads one file
_LATE = timedelta(seconds=90)  # longer than any one call may take
_CLOCK_LIMIT = timedelta(seconds=60)


class AgentState(StrEnum):
    """How the node stands with the cloud, in words that the dashboard shows."""

    STARTING = "starting"
    CONNECTED = "connected"
    CLOUD_AWAY = "cloud away"
    CREDENTIALS_REFUSED = "credentials refused"
    NEEDS_YOU = "needs you"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What the beat says.

    Attributes
    ----------
    registered
        Whether the node has credentials.
    last_heartbeat_ok
        Of the latest heartbeat; `None` before the first.
    last_heartbeat_at
        UTC time of the latest one that the cloud took.
    clock_off_s
        The machine's clock − the cloud's, seconds, where that is more than a minute.
    error
        What is wrong, for a person; `None` when nothing is.
    """

    state: AgentState = AgentState.STARTING
    registered: bool = False
    last_heartbeat_ok: bool | None = None
    last_heartbeat_at: datetime | None = None
    clock_off_s: float | None = None
    error: str | None = None

    def detail(self) -> dict[str, object]:
        """Write it as JSON values."""
        at = self.last_heartbeat_at
        return {
            "state": str(self.state),
            "registered": self.registered,
            "last_heartbeat_ok": self.last_heartbeat_ok,
            "last_heartbeat_at": at.isoformat() if at else None,
            "clock_off_s": self.clock_off_s,
            "error": self.error,
        }


class CloudAgent:
    """Registers and beats until it is stopped.

    Parameters
    ----------
    settings
        The whole configuration; explicit ``cloud.node_id`` and ``cloud.api_key`` win over what is kept.
    client
        Of ``cloud.url``.
    store
        Where the credentials of a registration are kept.
    """

    def __init__(self, settings: Settings, *, client: CloudClient, store: CredentialStore) -> None:
        self._settings, self._client, self._store = settings, client, store
        self._stopping = threading.Event()
        self._unsaved: NodeCredentials | None = None
        self._refused: NodeCredentials | None = None
        self._failures = 0
        self._due_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="cloud-agent", daemon=True)
        self.status = AgentStatus()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End; a call that hangs ends with the process."""
        self._stopping.set()
        self._thread.join(within_s)

    def turns(self) -> bool:
        """Tell whether the loop comes back when it should."""
        return time.monotonic() < self._due_s + _LATE.total_seconds()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._due_s = time.monotonic()
            pause_s = self._turn().total_seconds()
            self._due_s = time.monotonic() + pause_s
            self._stopping.wait(pause_s)

    def _turn(self) -> timedelta:
        """Do what is due; give how long to wait then."""
        try:
            return self._beat_once()
        except TransientError as error:
            return self._try_later(AgentState.CLOUD_AWAY, error, error.retry_after)
        except CredentialsRefused as error:
            self._set(AgentState.CREDENTIALS_REFUSED, str(error))
            return _LOOK_AGAIN
        except PermanentError as error:
            return self._try_later(AgentState.NEEDS_YOU, error, _LONGEST_RETRY)
        except OSError as error:
            return self._try_later(AgentState.NEEDS_YOU, error, _LOOK_AGAIN)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the node's life; it shows as failing
            _log.exception("the cloud agent fails")
            return self._try_later(AgentState.FAILING, error, _LONGEST_RETRY)

    def _beat_once(self) -> timedelta:
        credentials = self._credentials() or self._register()
        self.status = replace(self.status, registered=True)
        if credentials == self._refused:
            return _LOOK_AGAIN
        self._send(credentials)
        self._save_unsaved()
        return timedelta(seconds=self._settings.cloud.heartbeat_interval)

    def _send(self, credentials: NodeCredentials) -> None:
        conditions = {"utc_offset_hours": utc_offset_h(self._settings, utc_now())}
        try:
            heartbeat = self._client.heartbeat(credentials, conditions)
        except (TransientError, PermanentError) as error:
            if isinstance(error, CredentialsRefused):
                self._refused = credentials
            self.status = replace(self.status, last_heartbeat_ok=False)
            raise
        self._refused, self._failures = None, 0
        self.status = replace(self.status, last_heartbeat_ok=True, last_heartbeat_at=utc_now())
        self._set(AgentState.CONNECTED, None)
        self._compare_clocks(heartbeat.server_at)

    def _credentials(self) -> NodeCredentials | None:
        cloud = self._settings.cloud
        is_configured = cloud.node_id and cloud.api_key.get_secret_value()
        kept = None if is_configured else self._unsaved or self._store.load(cloud.url)
        return choose_credentials(cloud.node_id, cloud.api_key, kept, self._store.file)

    def _register(self) -> NodeCredentials:
        card = node_card(self._settings, utc_now())
        self._store.check_writable()
        registration = self._ask_for_credentials(card)
        _log.info("the node is registered", node_id=registration.credentials.node_id)
        if registration.warning:
            _log.warning("the cloud says about the activation", words=registration.warning)
        self._unsaved = registration.credentials
        self._save_unsaved()
        return registration.credentials

    def _ask_for_credentials(self, card: NodeCard) -> Registration:
        try:
            return self._client.register(card)
        except CredentialsRefused as error:
            raise CloudRefused(f"the registration is refused: {error}") from error

    def _save_unsaved(self) -> None:
        if self._unsaved is not None:
            self._store.save(self._settings.cloud.url, self._unsaved)
            self._unsaved = None

    def _compare_clocks(self, server_at: datetime | None) -> None:
        off = utc_now() - server_at if server_at else timedelta()
        wrong = abs(off) > _CLOCK_LIMIT
        if wrong and self.status.clock_off_s is None:
            _log.warning("the machine's clock and the cloud's differ", off_s=round(off.total_seconds()))
        self.status = replace(self.status, clock_off_s=off.total_seconds() if wrong else None)

    def _try_later(self, state: AgentState, error: Exception, wish: timedelta | None) -> timedelta:
        self._set(state, str(error))
        grown = min(_FIRST_RETRY * 2 ** min(self._failures, 16), _LONGEST_RETRY)
        self._failures += 1
        spread = 1 + _JITTER * (2 * random.random() - 1)  # noqa: S311 - spreads load, hides nothing
        return max(grown if wish is None else wish, _FIRST_RETRY) * spread

    def _set(self, state: AgentState, error: str | None) -> None:
        if state is not self.status.state:
            say = _log.info if error is None else _log.warning
            say("the cloud: a new state", state=str(state), problem=error)
        self.status = replace(self.status, state=state, error=error)
