"""The uploader's own process, with a clock that runs faster: ``python -m support.fast_uploader``.

An hour of waiting is over in seconds; leases are renewed as much faster as they run out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from skyrelay.logs import configure_logs
from skyrelay.outbox.leases import RENEW_EVERY
from skyrelay.service import utc_now
from skyrelay.settings import load_settings
from skyrelay_uploader.worker import run


@dataclass(frozen=True)
class FastClock:
    """Time that runs ``speed`` times as fast as the machine's since ``since``."""

    since: datetime
    speed: float

    def __call__(self) -> datetime:
        """Give the time."""
        return self.since + (utc_now() - self.since) * self.speed

    def real(self, duration: timedelta) -> float:
        """Give how many real seconds a duration lasts."""
        return duration.total_seconds() / self.speed


def main() -> int:
    """Work until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--since", type=datetime.fromisoformat, required=True)
    parser.add_argument("--speed", type=float, required=True)
    options = parser.parse_args()
    configure_logs("uploader")
    clock = FastClock(options.since, options.speed)
    return run(load_settings(options.config), clock=clock, renew_every=RENEW_EVERY / options.speed)


if __name__ == "__main__":
    sys.exit(main())
