"""What a soak calls growth, and what it sees of a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay_simulators.soak.nights import Diary
from skyrelay_simulators.soak.processes import Holding, growth_percent, holding_of


def night(pss_mb: float = 60.0, **counts: int) -> Holding:
    return Holding(**{"processes": 1, "files": 20, "sockets": 5, "threads": 3, **counts}, pss_mb=pss_mb)


@given(st.floats(1.0, 1e4), st.integers(2, 50))
def test_what_stays_the_same_does_not_grow(value: float, nights: int) -> None:
    assert growth_percent([value] * nights) == pytest.approx(0.0, abs=1e-9)


def test_growth_is_the_slope_in_percent_of_the_mean() -> None:
    assert growth_percent([98.0, 99.0, 100.0, 101.0, 102.0]) == pytest.approx(1.0)


def test_memory_that_grows_by_two_percent_a_night_is_named_and_flat_memory_is_not() -> None:
    leaking = [night(60.0 * 1.02**number) for number in range(12)]
    diary = Diary(holdings={"stacker": leaking, "uploader": [night()] * 12})
    assert [line.split(" grows")[0] for line in diary.growing()] == ["the memory of stacker"]


def test_a_socket_more_each_night_is_named() -> None:
    diary = Diary(holdings={"gateway": [night(sockets=5 + number) for number in range(12)]})
    (line,) = diary.growing()
    assert line.startswith("the sockets of gateway grow")


def test_the_first_nights_may_grow() -> None:
    warming_up = [night(40.0 + 5 * min(number, 4)) for number in range(12)]
    assert list(Diary(holdings={"stacker": warming_up}).growing()) == []


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    code = (
        "import socket, sys; s = socket.socket(); sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as process:
        yield process
        process.kill()


def test_the_holding_of_a_process_counts_its_sockets_and_threads(program: subprocess.Popen[bytes]) -> None:
    assert program.stdout is not None
    program.stdout.read(1)
    held = holding_of(program.pid)
    assert (held.processes, held.sockets, held.threads) == (1, 1, 1)
    assert held.pss_mb > 1.0
