"""Keeps the home a well-behaved node of the observation network.

`communicator` is the public class, on which `service` is built: `beating` (registration, heartbeats),
`polling` (plan, interrupts), `submitting` (measurements, through the outbox).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyrelay_cloud_agent.communicator import CloudCommunicator

__all__ = ["CloudCommunicator"]


def __getattr__(name: str) -> Any:
    """Load the class when it is asked for: a service that idles needs no database."""
    if name != "CloudCommunicator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from skyrelay_cloud_agent.communicator import CloudCommunicator

    return CloudCommunicator
