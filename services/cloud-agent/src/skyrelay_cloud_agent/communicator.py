"""`CloudCommunicator`: everything between a node and the cloud, for your own program or the service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import STATE_FILE, CredentialStore, NodeCredentials
from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import CloudSettings, ObservatorySettings, PhotometrySettings, Settings
from skyrelay.store.engine import Store
from skyrelay_cloud_agent.beating import Beating
from skyrelay_cloud_agent.loop import Loop
from skyrelay_cloud_agent.node import Login, Node
from skyrelay_cloud_agent.own_outbox import OwnOutbox, paused_after
from skyrelay_cloud_agent.polling import Polling
from skyrelay_cloud_agent.standing import Standing
from skyrelay_cloud_agent.submitting import Submitting, payload_of

_log = get_logger(__name__)

_STOP_S = 2.0
# Whoever submits waits for this at most; a slower answer counts as none, and the outbox sends it again.
_SUBMIT_CONNECT_S, _SUBMIT_READ_S = 3.0, 5.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a communicator that is in use is made of."""

    client: CloudClient
    submit_client: CloudClient
    own: OwnOutbox | None
    node: Node
    submitting: Submitting
    beat: Loop
    plan: Loop
    polling: Polling


class CloudCommunicator:
    """Keeps a node in touch with the cloud.

    Parameters
    ----------
    config
        The whole configuration as a dict; read are ``cloud``, ``observatory``, ``photometry`` and
        ``data_dir`` (``data``). Keys that are not ours are left alone.
    get_conditions
        Asked at each heartbeat for the local conditions; what it raises is logged.
    on_plan
        Told of the items of each plan whose ``plan_id`` is not that of the last one, in this process or an
        earlier one. If it raises, it is told again at the next poll.
    on_interrupt
        Told of each interrupt; when it returns, the interrupt is acknowledged. If it raises, it is told
        again at each poll until the interrupt expires.
    store
        A database of somebody else's who empties its outbox (the services'); by itself a communicator has
        a file of its own in ``data_dir``, and empties it.
    login
        Gives node_id and api_key as they are configured now, where those can change.

    Raises
    ------
    ConfigurationError
        If a value in one of the three sections cannot be used. The message names it.

    Examples
    --------
    >>> cc = CloudCommunicator(config, on_interrupt=print)
    >>> cc.start()
    >>> cc.submit_measurement({"target_name": "T CrB", "bjd": 2460761.5, "magnitude": 9.8})
    True
    >>> cc.stop()
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Settings,
        get_conditions: Callable[[], dict[str, Any]] | None = None,
        on_plan: Callable[[list[Any]], object] | None = None,
        on_interrupt: Callable[[dict[str, Any]], object] | None = None,
        *,
        store: Store | None = None,
        login: Login | None = None,
    ) -> None:
        self._settings = config if isinstance(config, Settings) else settings_of(config)
        self._get_conditions, self._on_plan, self._on_interrupt = get_conditions, on_plan, on_interrupt
        self._store, self._login = store, login or self._configured_login
        self._standing = Standing()
        self._lock = threading.Lock()
        self._parts: _Parts | None = None

    @property
    def status(self) -> dict[str, Any]:
        """The node's state: ``registered``, ``last_heartbeat_ok``, ``last_plan_id``, ``plan_items``,
        ``queued_uploads`` and ``error``; one dict, updated in place."""
        return self._standing.status

    def detail(self) -> dict[str, object] | None:
        """Give more of the state, as JSON values; `None` when a thread does not come back as it should."""
        parts = self._parts
        is_well = parts is None or (parts.beat.turns() and parts.plan.turns())
        return self._standing.detail() if is_well else None

    def start(self) -> None:
        """Begin: two daemon threads, ``cloud-heartbeat`` and ``cloud-plan``.

        Nothing happens if ``cloud.enabled`` is false, or if it has been started. Without ``cloud.url`` an
        error is logged.
        """
        if not self._settings.cloud.enabled:
            return
        if not self._settings.cloud.url:
            _log.error("cloud.url is empty: the cloud is not spoken to")
            self._standing.note("cloud.url is empty: set it, or set cloud.enabled to false")
            return
        parts = self._in_use()
        if parts.beat.thread.ident is None:
            parts.polling.recall()
            parts.beat.start()
            parts.plan.start()

    def stop(self) -> None:
        """End. Calls under way are broken off; what was not delivered stays in the outbox."""
        with self._lock:
            parts, self._parts = self._parts, None
        if parts is None:
            return
        loops = [loop for loop in (parts.beat, parts.plan) if loop.thread.ident is not None]
        for loop in (parts.beat, parts.plan):
            loop.tell_to_stop()
        parts.client.break_off()
        end_s = time.monotonic() + _STOP_S
        for loop in loops:
            if loop.thread is not threading.current_thread():
                loop.thread.join(max(end_s - time.monotonic(), 0.0))
        parts.client.close()
        parts.submit_client.break_off()
        parts.submit_client.close()
        if parts.own is not None and not any(loop.thread.is_alive() for loop in loops):
            parts.own.close()

    def submit_measurement(
        self,
        measurement: Mapping[str, Any],
        conditions: Mapping[str, Any] | None = None,
        fits_path: str | Path | None = None,
    ) -> bool:
        """Deliver a measurement, now or later.

        It is in the outbox before it is sent, and stays there until the cloud has it. The call waits a few
        seconds at most, and not at all while the cloud is known to be away.

        Parameters
        ----------
        measurement
            As the cloud wants it: ``target_name``, ``bjd``, ``magnitude``, …
        conditions
            That it was made under; an empty dict if not given.
        fits_path
            The image to send after it, if ``cloud.upload_images`` is true.

        Returns
        -------
        bool
            Whether the cloud has it. `False` if it waits; if the cloud refused it (it is then kept as dead,
            and `status` has the reason); and if ``cloud.enabled`` is false or ``cloud.url`` empty: then it
            is not kept.

        Raises
        ------
        TypeError
            If there is something in it that JSON does not know.
        """
        payload = payload_of(measurement, conditions)
        if not (self._settings.cloud.enabled and self._settings.cloud.url):
            return False
        parts = self._in_use()
        has_image = fits_path is not None and self._settings.cloud.upload_images
        is_taken = parts.submitting.submit(payload, Path(fits_path or "").absolute() if has_image else None)
        if is_taken and has_image:
            parts.beat.wake()
        return is_taken

    def _in_use(self) -> _Parts:
        with self._lock:
            if self._parts is None:
                self._parts = self._made()
            return self._parts

    def _made(self) -> _Parts:
        settings, standing = self._settings, self._standing
        client = CloudClient(settings.cloud.url)
        submit_client = CloudClient(settings.cloud.url, connect_s=_SUBMIT_CONNECT_S, read_s=_SUBMIT_READ_S)
        own = OwnOutbox(settings.data_dir) if self._store is None else None
        store = own.store if own is not None else self._store
        assert store is not None  # noqa: S101 - one of the two is there, for the type checker
        node = Node(settings, client, CredentialStore(settings.data_dir / STATE_FILE), self._login)
        submitting = Submitting(store, submit_client, node, standing, queue_max=settings.cloud.queue_max)
        submitting.count()
        standing.status["registered"] = node.usable() is not None

        def accepted(credentials: NodeCredentials, was_away: bool) -> None:
            submitting.reopen(credentials, utc_now(), was_away=was_away)
            if polling.waits_for_credentials:
                plan.wake()
            if own is not None:
                pause = paused_after(settings.cloud.heartbeat_interval, lambda: beat.is_stopping)
                scrub = settings.crowdsky.scrub_location is True
                account = node.account(credentials)
                own.empty(client, credentials, account, scrub_location=scrub, should_pause=pause)
            submitting.count()

        beating = Beating(
            settings, client, node, standing, get_conditions=self._get_conditions, on_accepted=accepted
        )
        polling = Polling(
            settings,
            client,
            node,
            standing,
            store,
            on_plan=self._on_plan,
            on_interrupt=self._on_interrupt,
            should_stop=lambda: plan.is_stopping,
        )
        beat, plan = Loop("cloud-heartbeat", beating.turn), Loop("cloud-plan", polling.turn)
        return _Parts(client, submit_client, own, node, submitting, beat, plan, polling)

    def _configured_login(self) -> tuple[str, SecretStr]:
        return self._settings.cloud.node_id, self._settings.cloud.api_key


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Read our sections of a program's configuration.

    Raises
    ------
    ConfigurationError
        If a value cannot be used.
    """
    models: dict[str, type[BaseModel]] = {
        "cloud": CloudSettings,
        "observatory": ObservatorySettings,
        "photometry": PhotometrySettings,
    }
    sections: dict[str, Any] = {}
    for name, model in models.items():
        given = config.get(name) or {}
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"{name}: must be a section, no {type(given).__name__}")
        known = {
            key: value for key, value in given.items() if key in model.model_fields and value is not None
        }
        sections[name] = known
    sections["observatory"].setdefault("share_location", "exact")  # as that software's users know it
    try:
        return _Given(**sections, data_dir=Path(config.get("data_dir") or "data"), setup="done")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        words = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems]
        raise ConfigurationError("\n".join(words)) from None  # its text may hold a secret


class _Given(Settings):
    """Settings that are what they were given: the environment has no part in them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base's
        init_settings: PydanticBaseSettingsSource,
        *_: object,
        **__: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
