"""The table of docs/cloud.md is true: each promise of `CloudCommunicator` has a test that is there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyrelay_cloud_agent import CloudCommunicator
from skyrelay_simulators.cloud import SimulatedCloud
from support.node_program import NodeProgram, measurement, node_program
from support.waiting import eventually

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cloud.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[NodeProgram]:
    with node_program(tmp_path) as program:
        yield program


def test_each_row_of_the_table_names_tests_that_are_there() -> None:
    rows = ROW.findall(PAGE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 50
    files = (ROOT / "tests").rglob("test_*.py")
    there = {
        name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }
    for number, cell in rows:
        named = re.findall(r"`(test_\w+)`", cell)
        assert named, f"row {number} names no test"
        assert set(named) <= there, f"row {number}"


def test_plan_and_interrupts_are_polled_at_their_own_interval(program: NodeProgram) -> None:
    program.started(cloud={"heartbeat_interval": 3600, "plan_poll_interval": 1})
    eventually(lambda: program.accepted("plan") >= 3 and program.accepted("interrupts") >= 3)
    assert program.accepted("heartbeat") == 1


def test_conditions_are_asked_for_at_each_heartbeat(program: NodeProgram) -> None:
    asked: list[int] = []

    def conditions() -> dict[str, Any]:
        asked.append(len(asked) + 1)
        return {"asked": asked[-1]}

    program.started(conditions)
    eventually(lambda: program.accepted("heartbeat") >= 3)
    told = [entry.content["conditions"]["asked"] for entry in program.cloud.requests("heartbeat")]
    assert told == list(range(1, len(told) + 1))


@pytest.mark.parametrize("auto_run_plans", [False, True])
def test_the_plans_callback_is_told_whatever_auto_run_plans_says(
    program: NodeProgram, auto_run_plans: bool
) -> None:
    told: list[list[Any]] = []
    program.cloud.set_plan([{"target": "T CrB"}])
    program.started(None, told.append, cloud={"auto_run_plans": auto_run_plans})
    eventually(lambda: told)
    assert told[0][0]["target"] == "T CrB"


def test_an_interrupts_dict_has_id_name_and_reason_even_without_a_reason(program: NodeProgram) -> None:
    told: list[dict[str, Any]] = []
    program.cloud.interrupt("GRB", 150.0, 20.0)
    program.started(on_interrupt=told.append)
    eventually(lambda: told)
    assert told[0].keys() >= {"id", "name", "reason"}


def test_the_numbers_that_photometry_gives_are_sent_as_numbers(program: NodeProgram) -> None:
    import numpy as np

    cc = program.started()
    eventually(lambda: program.accepted("heartbeat"))
    given = measurement(magnitude=np.float32(9.5), snr=np.float64(41.5), comparison_stars=np.int64(7))
    assert cc.submit_measurement(given) is True
    (stored,) = program.cloud.measurements
    sent = {name: stored.measurement[name] for name in ("magnitude", "snr", "comparison_stars")}
    assert sent == {"magnitude": 9.5, "snr": 41.5, "comparison_stars": 7}


def test_status_is_read_by_any_thread_while_it_changes(program: NodeProgram) -> None:
    cc = program.communicator()
    done, failures = threading.Event(), list[Exception]()

    def read() -> None:
        while not done.is_set():
            try:
                assert len(dict(cc.status)) == 6
            except Exception as error:  # noqa: BLE001 - whatever it is fails the test
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    cc.start()
    eventually(lambda: program.accepted("heartbeat") >= 2)
    done.set()
    for reader in readers:
        reader.join(20)
    assert failures == []


def test_the_configured_telescope_model_is_told(tmp_path: Path) -> None:
    with SimulatedCloud(tmp_path / "cloud") as cloud:
        site = {"latitude": 48.2, "longitude": 16.4, "telescope": "Seestar S30"}
        config = {
            "cloud": {"enabled": True, "url": cloud.base_url},
            "observatory": site,
            "data_dir": tmp_path,
        }
        cc = CloudCommunicator(config)
        cc.start()
        eventually(lambda: cloud.requests("register"))
        cc.stop()
        assert cloud.requests("register")[0].content["telescope_model"] == "Seestar S30"
