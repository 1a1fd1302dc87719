"""Uploads that share a rate."""

from __future__ import annotations

import pytest

from skyrelay_uploader.bandwidth import Bandwidth


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_an_upload_takes_its_size_over_the_rate() -> None:
    clock = Clock()
    pace = Bandwidth(100_000, clock, clock.sleep).pace()
    for sent in range(16_384, 1_000_000, 16_384):
        pace(sent, 1_000_000)
    pace(1_000_000, 1_000_000)
    assert clock.now_s == pytest.approx(10.0)


def test_two_uploads_share_the_rate() -> None:
    clock = Clock()
    bandwidth = Bandwidth(100_000, clock, clock.sleep)
    first, second = bandwidth.pace(), bandwidth.pace()
    for sent in range(10_000, 500_001, 10_000):
        first(sent, None)
        second(sent, None)
    assert clock.now_s == pytest.approx(10.0)


def test_time_without_an_upload_is_not_saved_up() -> None:
    clock = Clock()
    pace = Bandwidth(1000, clock, clock.sleep).pace()
    clock.now_s = 3600.0
    pace(5000, None)
    assert clock.now_s == pytest.approx(3605.0)


def test_without_a_limit_nothing_waits() -> None:
    clock = Clock()
    Bandwidth(0, clock, clock.sleep).pace()(10**9, None)
    assert clock.now_s == 0.0
