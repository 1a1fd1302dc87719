"""A program of somebody's own that uses `CloudCommunicator` by itself, and the cloud that it speaks to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skyrelay_cloud_agent import CloudCommunicator
from skyrelay_simulators.cloud import SimulatedCloud

SITE = {"observer": "Ada", "latitude": 48.2345, "longitude": 16.3456, "elevation": 171.5}


def measurement(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Give a measurement; each number is another one."""
    return {
        "target_name": "T CrB",
        "bjd": 2460761.5 + number / 1000,
        "magnitude": 9.8,
        "uncertainty": 0.02,
        "filter": "TG",
        "quality_flag": "good",
        **changes,
    }


@dataclass
class NodeProgram:
    """Makes communicators on one folder, and stops what it made."""

    folder: Path
    cloud: SimulatedCloud
    made: list[CloudCommunicator] = field(default_factory=list)

    def config(self, **cloud: Any) -> dict[str, Any]:
        """Give a configuration as the older software has it."""
        return {
            "cloud": {"enabled": True, "url": self.cloud.base_url + "/", "heartbeat_interval": 1, **cloud},
            "observatory": {**SITE, "timezone": "Asia/Kolkata", "name": "a key of another program"},
            "photometry": {"node_id": "garden", "filter_name": "TG"},
            "data_dir": str(self.folder / "data"),
            "dashboard": {"port": 5000},
        }

    def communicator(
        self, *callbacks: Any, cloud: dict[str, Any] | None = None, **named: Any
    ) -> CloudCommunicator:
        """Make one; ``cloud`` are keys of that section."""
        self.made.append(CloudCommunicator(self.config(**(cloud or {})), *callbacks, **named))
        return self.made[-1]

    def started(self, *callbacks: Any, **named: Any) -> CloudCommunicator:
        """Make one, and start it."""
        made = self.communicator(*callbacks, **named)
        made.start()
        return made

    def accepted(self, endpoint: str) -> int:
        """Count the calls to an endpoint that the cloud answered with 200."""
        return sum(entry.status == 200 for entry in self.cloud.requests(endpoint))

    def arrived(self) -> list[float]:
        """Give the times of the measurements that the cloud has, sorted."""
        return sorted(stored.measurement["bjd"] for stored in self.cloud.measurements)


@contextmanager
def node_program(folder: Path) -> Iterator[NodeProgram]:
    """Give a program and its cloud; both end with the ``with``."""
    with SimulatedCloud(folder / "cloud") as cloud:
        program = NodeProgram(folder, cloud)
        try:
            yield program
        finally:
            for made in program.made:
                with suppress(RuntimeError):
                    made.stop()


def threads_of_ours() -> list[threading.Thread]:
    """Give the communicators' threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name in {"cloud-heartbeat", "cloud-plan"}]
