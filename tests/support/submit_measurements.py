"""A photometry program: submits its measurements from four threads, and goes on where it was killed.

``python submit_measurements.py URL FOLDER MEASUREMENTS``
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from skyrelay_cloud_agent import CloudCommunicator

THREADS = 4


def submit_all(cc: CloudCommunicator, folder: Path, thread: int, total: int) -> None:
    """Submit every fourth measurement; write down after each how far this thread has got."""
    done = folder / f"done-{thread}"
    first = int(done.read_text() or 0) if done.exists() else 0
    for number in range(first, total // THREADS):
        bjd = 2460761.5 + (number * THREADS + thread) / 100_000
        cc.submit_measurement({"target_name": "T CrB", "bjd": bjd, "magnitude": 9.8, "filter": "TG"})
        part = done.with_suffix(".part")
        part.write_text(str(number + 1))
        part.replace(done)


def main(url: str, folder: Path, total: int) -> None:
    """Run until told to stop."""
    cc = CloudCommunicator(
        {
            "cloud": {"enabled": True, "url": url, "heartbeat_interval": 1},
            "observatory": {"latitude": 48.2, "longitude": 16.3, "timezone": "UTC"},
            "photometry": {"node_id": "garden"},
            "data_dir": folder / "data",
        }
    )
    cc.start()
    threads = [
        threading.Thread(target=submit_all, args=(cc, folder, number, total)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signal.sigwait({signal.SIGTERM})
    cc.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
