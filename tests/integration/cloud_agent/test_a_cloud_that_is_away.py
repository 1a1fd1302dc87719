"""The cloud is away while four threads submit measurements, and the process is killed twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skyrelay_simulators.cloud import SimulatedCloud
from support import submit_measurements
from support.waiting import eventually

_SELDOM_S = 0.25  # the cloud is in this process: asked more often, it would do little else


@contextmanager
def program(cloud: SimulatedCloud, folder: Path, total: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the photometry program; what is left of it at the end is killed."""
    arguments = [cloud.base_url, str(folder), str(total)]
    process = subprocess.Popen([sys.executable, submit_measurements.__file__, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def submitted(folder: Path) -> int:
    """Count the measurements that the program's threads have submitted."""
    return sum(int(file.read_text()) for file in folder.glob("done-?"))


@pytest.mark.parametrize("total", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_each_measurement_arrives_once_through_an_outage_and_two_kills(tmp_path: Path, total: int) -> None:
    with SimulatedCloud(tmp_path / "cloud") as cloud:

        def arrived() -> int:
            return len(cloud.measurements)

        with program(cloud, tmp_path, total):
            eventually(lambda: submitted(tmp_path) >= total // 20, within_s=60)
            cloud.stop()
            eventually(lambda: submitted(tmp_path) >= total // 3, within_s=60)
        assert submitted(tmp_path) < total  # killed while it submits
        with program(cloud, tmp_path, total):
            eventually(lambda: submitted(tmp_path) == total, within_s=120)
            before = arrived()
            assert before < total // 2
            cloud.start()
            eventually(lambda: arrived() > before, within_s=60, every_s=_SELDOM_S)
        assert arrived() < total  # killed while it sends what had waited
        with program(cloud, tmp_path, total) as last:
            eventually(lambda: arrived() >= total, within_s=240, every_s=_SELDOM_S)
            last.send_signal(signal.SIGTERM)
            assert last.wait(30) == 0
        times = [stored.measurement["bjd"] for stored in cloud.measurements]
        assert sorted(times) == [2460761.5 + number / 100_000 for number in range(total)]
        sent = [entry for entry in cloud.requests("measurements") if entry.status == 200]
        assert len(sent) <= total + 2 * submit_measurements.THREADS + 20  # what was under way at the kills
