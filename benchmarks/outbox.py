"""Enqueue and drain measurements: the outbox beside a JSON file as the seed describes it.

The JSON queue does what is documented: each entry is appended to a JSON array in one file under a lock
(read, append, write the whole), and a flush goes through it in order, keeping what fails. Its cap of 500
is lifted, for it would throw nine tenths away. Both "send" to a function that does nothing, so that the
queues are measured and not a network.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from common import Goal, Report, options_of, repeats_of
from pydantic import SecretStr

from skyrelay.cloud.client import CloudReceipt
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.draining import send_due_measurements
from skyrelay.outbox.measurements import count_waiting, enqueue_measurement
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate


def payload(number: int) -> str:
    """Write a measurement as a photometry pipeline gives it, with all of its fields."""
    measurement = {
        "target_name": "T CrB",
        "bjd": 2460761.5 + number / 10_000,
        "magnitude": 9.8312,
        "uncertainty": 0.0213,
        "filter": "TG",
        "airmass": 1.2345,
        "fwhm": 3.2101,
        "snr": 51.23,
        "comparison_stars": 12,
        "quality_flag": "good",
        "node_id": "garden",
        "zero_point": 21.4512,
        "zp_scatter": 0.0311,
        "fits_file": f"Stacked_30_T CrB_10.0s_IRCUT_20250326-{number:06d}.fit",
    }
    conditions = {"temperature_c": 4.5, "humidity": 0.71, "clouds": 0.1, "utc_offset_hours": 1.0}
    return json.dumps({"measurement": measurement, "conditions": conditions})


class JsonQueue:
    """The documented queue: ``data/cloud_upload_queue.json``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def append(self, entry: Any) -> None:
        """Append an entry."""
        with self._lock:
            entries = self._read()
            entries.append(entry)
            self._file.write_text(json.dumps(entries), encoding="utf-8")

    def flush(self, send: Callable[[Any], bool]) -> int:
        """Send all in order; keep what fails; give how many went."""
        with self._lock:
            entries = self._read()
            left = [entry for entry in entries if not send(entry)]
            self._file.write_text(json.dumps(left), encoding="utf-8")
            return len(entries) - len(left)

    def _read(self) -> list[Any]:
        return json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else []


def with_json(folder: Path, number: int) -> tuple[float, float]:
    """Give seconds to enqueue and seconds to drain."""
    queue = JsonQueue(folder / "cloud_upload_queue.json")
    began = time.perf_counter()
    for n in range(number):
        queue.append(json.loads(payload(n)))
    enqueued = time.perf_counter()
    assert queue.flush(lambda _: True) == number
    return enqueued - began, time.perf_counter() - enqueued


def with_outbox(folder: Path, number: int) -> tuple[float, float]:
    """Give the same, each measurement in a transaction of its own that is on the disk when it ends."""
    store = Store(f"sqlite:///{folder / 'outbox.db'}")
    migrate(store)
    account = Account("cloud", "http://cloud.invalid", "node", SecretStr("key"), "benchmark")
    began = time.perf_counter()
    for n in range(number):
        with store.write() as session:
            enqueue_measurement(session, payload(n), now=_now(), actor="benchmark", first_try=None)
    enqueued = time.perf_counter()
    while send_due_measurements(store, account, lambda _: CloudReceipt("1"), clock=_now).more:
        pass
    drained = time.perf_counter()
    with store.read() as session:
        assert count_waiting(session) == 0
    store.close()
    return enqueued - began, drained - enqueued


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Measure both in turn and print the ratio."""
    options = options_of(__doc__, ("--number", {"type": int}))
    number = options.number or (200 if options.quick else 5000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ours, theirs = [], []
    for _ in range(repeats_of(options, 1)):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(with_outbox(Path(folder), number))
            theirs.append(with_json(Path(folder), number))
    report = Report("outbox", options)
    for what, part in (("enqueue", 0), ("drain", 1)):
        report.add(
            f"{what} {number} measurements", [pair[part] for pair in ours], [pair[part] for pair in theirs]
        )
    report.add(
        f"both, beside a JSON file (times as fast), {number} measurements",
        [sum(pair) for pair in ours],
        [sum(pair) for pair in theirs],
        goal=Goal(least=20),
        inverse=True,
    )
    report.close()


if __name__ == "__main__":
    main()
