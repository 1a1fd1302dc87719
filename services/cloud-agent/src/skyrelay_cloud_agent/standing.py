"""How the node stands with the cloud: what callers of `CloudCommunicator.status` and the dashboard see."""

from __future__ import annotations

import threading
from datetime import datetime
from enum import StrEnum
from typing import Any

from skyrelay.logs import get_logger

_log = get_logger(__name__)


class AgentState(StrEnum):
    """How the node stands with the cloud, in words that the dashboard shows."""

    STARTING = "starting"
    CONNECTED = "connected"
    CLOUD_AWAY = "cloud away"
    CREDENTIALS_REFUSED = "credentials refused"
    NEEDS_YOU = "needs you"
    FAILING = "failing"


class Standing:
    """The node's state.

    Attributes
    ----------
    status
        The seed's dict, updated in place, one value at a time: a reader needs no lock.
    state
        In words.
    last_heartbeat_at
        UTC time of the latest heartbeat that the cloud took.
    clock_off_s
        The machine's clock − the cloud's, seconds, where that is more than a minute.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "registered": False,
            "last_heartbeat_ok": None,
            "last_plan_id": None,
            "plan_items": 0,
            "queued_uploads": 0,
            "error": None,
        }
        self.state = AgentState.STARTING
        self.last_heartbeat_at: datetime | None = None
        self.clock_off_s: float | None = None
        self._lock = threading.Lock()

    def enter(self, state: AgentState, error: str | None) -> None:
        """Enter a state; a new one is logged."""
        with self._lock:
            self.status["error"] = error
            is_new, self.state = state is not self.state, state
        if is_new:
            say = _log.info if error is None else _log.warning
            say("the cloud: a new state", state=str(state), problem=error)

    def note(self, error: str | None) -> None:
        """Note how an operation went that says nothing of the node's state."""
        if error is not None or self.state is AgentState.CONNECTED:
            self.status["error"] = error

    def detail(self) -> dict[str, object]:
        """Write it as JSON values."""
        at = self.last_heartbeat_at
        return {
            **self.status,
            "state": str(self.state),
            "last_heartbeat_at": at.isoformat() if at else None,
            "clock_off_s": self.clock_off_s,
        }
