"""The heartbeat: register if need be, say that the node lives, and let what waits go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import CredentialsRefused
from skyrelay.errors import PermanentError, TransientError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay_cloud_agent.loop import LONGEST_RETRY, retry_delay, spread
from skyrelay_cloud_agent.node import Node
from skyrelay_cloud_agent.node_card import utc_offset_h
from skyrelay_cloud_agent.standing import AgentState, Standing

LOOK_AGAIN = timedelta(seconds=30)  # whether refused credentials were replaced by hand; reads one file
_CLOCK_LIMIT = timedelta(seconds=60)

_log = get_logger(__name__)

Conditions = Callable[[], Mapping[str, Any]]


class Beating:
    """The turns of the thread ``cloud-heartbeat``.

    Parameters
    ----------
    get_conditions
        Gives what is known of the conditions; it may raise.
    on_accepted
        Called after each heartbeat that the cloud took, with the credentials, and whether it is the
        first one, or the one before had failed.
    """

    def __init__(
        self,
        settings: Settings,
        client: CloudClient,
        node: Node,
        standing: Standing,
        *,
        get_conditions: Conditions | None,
        on_accepted: Callable[[NodeCredentials, bool], None],
    ) -> None:
        self._settings, self._client, self._node, self._standing = settings, client, node, standing
        self._get_conditions, self._on_accepted = get_conditions, on_accepted
        self._failures = 0
        self._was_away = True

    def turn(self) -> timedelta:
        """Do what is due; give how long to wait then."""
        try:
            return self._beat()
        except TransientError as error:
            return self._try_later(AgentState.CLOUD_AWAY, error, error.retry_after)
        except CredentialsRefused as error:
            self._standing.enter(AgentState.CREDENTIALS_REFUSED, str(error))
            return LOOK_AGAIN
        except PermanentError as error:
            return self._try_later(AgentState.NEEDS_YOU, error, LONGEST_RETRY)
        except OSError as error:
            return self._try_later(AgentState.NEEDS_YOU, error, LOOK_AGAIN)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the node's life; it shows as failing
            _log.exception("the cloud agent fails")
            return self._try_later(AgentState.FAILING, error, None)

    def _beat(self) -> timedelta:
        known = self._node.credentials()
        self._standing.status["registered"] = known is not None
        credentials = known or self._node.register()
        self._standing.status["registered"] = True
        if self._node.is_refused(credentials):
            self._standing.status["last_heartbeat_ok"], self._was_away = False, True
            return LOOK_AGAIN
        self._send(credentials)
        self._node.note_accepted()
        was_away, self._was_away, self._failures = self._was_away, False, 0
        self._on_accepted(credentials, was_away)
        return spread(self._settings.cloud.heartbeat_interval)

    def _send(self, credentials: NodeCredentials) -> None:
        conditions = self._conditions()
        try:
            heartbeat = self._client.heartbeat(credentials, conditions)
        except (TransientError, PermanentError) as error:
            if isinstance(error, CredentialsRefused):
                self._node.note_refused(credentials)
            self._standing.status["last_heartbeat_ok"], self._was_away = False, True
            raise
        self._standing.status["last_heartbeat_ok"] = True
        self._standing.last_heartbeat_at = utc_now()
        self._standing.enter(AgentState.CONNECTED, None)
        self._compare_clocks(heartbeat.server_at)

    def _conditions(self) -> dict[str, Any]:
        given = _asked(self._get_conditions) if self._get_conditions is not None else {}
        return {**given, "utc_offset_hours": utc_offset_h(self._settings, utc_now())}

    def _compare_clocks(self, server_at: datetime | None) -> None:
        off = utc_now() - server_at if server_at else timedelta()
        wrong = abs(off) > _CLOCK_LIMIT
        if wrong and self._standing.clock_off_s is None:
            _log.warning("the machine's clock and the cloud's differ", off_s=round(off.total_seconds()))
        self._standing.clock_off_s = off.total_seconds() if wrong else None

    def _try_later(self, state: AgentState, error: Exception, wish: timedelta | None) -> timedelta:
        self._standing.enter(state, str(error))
        self._failures += 1
        return retry_delay(self._failures - 1, wish)


def _asked(get_conditions: Conditions) -> Mapping[str, Any]:
    """Ask a callback of somebody else's; nothing that it does may cost a heartbeat."""
    try:
        return dict(get_conditions())
    except Exception as error:  # noqa: BLE001 - whatever it raises is its own affair
        _log.info("no conditions: their callback failed", problem=f"{type(error).__name__}: {error}")
        return {}
