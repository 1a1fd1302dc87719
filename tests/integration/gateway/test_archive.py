"""The archive over HTTP and by command: only what was delivered, added up, confined, and as tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from astropy.table import Table
from typer.testing import CliRunner

from skyrelay.access.tokens import Scope
from skyrelay.cli import app
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.engine import Store
from support.gateway import GatewayClient, make_token, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21)  # noqa: DTZ001 - the telescope's wall clock
DAY, QUARTER = timedelta(days=1), timedelta(minutes=15)


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway: of M 81 two delivered stacks in two nights, of =M 31 two in one."""
    with store.write() as session:
        night = RecordedNight(session)
        garden, attic = night.telescope("garden"), night.telescope("attic")
        for telescope, target, start, frames, state in (
            (garden, "M 81", EVENING, 20, DeliveryState.CONFIRMED),
            (garden, "M 81", EVENING + DAY, 30, DeliveryState.ACCEPTED),
            (garden, "M 81", EVENING + QUARTER, 40, DeliveryState.PENDING),
            (garden, "M 81", EVENING + 2 * QUARTER, 40, DeliveryState.DEAD),
            (attic, "=M 31", EVENING, 10, DeliveryState.CONFIRMED),
        ):
            block = night.block(telescope, target, start, BlockState.STACKED, frames=frames)
            night.delivery(night.stack(block), state)
        dark = night.block(attic, "=M 31", EVENING + QUARTER, BlockState.STACKED, frames=6, filter="LP")
        night.delivery(night.stack(dark), DeliveryState.CONFIRMED)
    with running_gateway(store, redis_server.url) as client:
        yield client


def totals(answer: dict[str, Any]) -> list[tuple[str, str, int, float]]:
    return [
        (each["target"], each["filter"], each["stacks"], each["exposure_total_s"])
        for each in answer["totals"]
    ]


def test_what_was_delivered_is_added_up_by_target_and_filter(gateway: GatewayClient) -> None:
    answer = gateway.read("/api/v1/archive")
    assert totals(answer) == [
        ("=M 31", "IRCUT", 1, 100.0),
        ("=M 31", "LP", 1, 60.0),
        ("M 81", "IRCUT", 2, 500.0),
    ]
    assert len(answer["items"]) == 4
    assert {item["is_confirmed"] for item in answer["items"] if item["target"] == "M 81"} == {True, False}


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({"target": "M 81"}, [("M 81", "IRCUT", 2, 500.0)]),
        ({"filter": "LP"}, [("=M 31", "LP", 1, 60.0)]),
        ({"telescope": "attic", "filter": "IRCUT"}, [("=M 31", "IRCUT", 1, 100.0)]),
        ({"since": "2025-03-27"}, [("M 81", "IRCUT", 1, 300.0)]),
        ({"until": "2025-03-26", "target": "M 81"}, [("M 81", "IRCUT", 1, 200.0)]),
        ({"filter": "none"}, []),
        ({"filter": "", "target": "M 81"}, [("M 81", "IRCUT", 2, 500.0)]),
    ],
)
def test_it_is_confined_to_what_is_asked_for(
    gateway: GatewayClient, wish: dict[str, str], found: list[tuple[str, str, int, float]]
) -> None:
    answer = gateway.read("/api/v1/archive", **wish)
    assert totals(answer) == found
    assert len(answer["items"]) == sum(stacks for _, _, stacks, _ in found)
    assert len(gateway.get("/api/v1/archive/csv", **wish).text.splitlines()) == 1 + len(answer["items"])


def test_it_is_read_in_parts_whose_totals_are_of_all(gateway: GatewayClient) -> None:
    first = gateway.read("/api/v1/archive", limit=3)
    rest = gateway.read("/api/v1/archive", limit=3, cursor=first["next_cursor"])
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [3, 1, None]
    assert totals(first) == totals(rest)


def test_a_table_is_read_in_parts_without_losing_a_line(
    gateway: GatewayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gateway.get("/api/v1/archive/csv").text
    for most in (1, 2, 3, 4):
        monkeypatch.setattr("skyrelay.store.archive._AT_A_TIME", most)
        assert gateway.get("/api/v1/archive/csv").text == whole


def test_a_target_that_is_not_there_is_named(gateway: GatewayClient) -> None:
    for path in ("/api/v1/archive", "/api/v1/archive/csv"):
        answer = gateway.get(path, target="M 82")
        assert answer.status_code == 404
        assert "M 81" in answer.json()["what_to_do"]


def test_the_tables_are_for_a_spreadsheet_and_for_astropy(gateway: GatewayClient, tmp_path: Path) -> None:
    answer = gateway.get("/api/v1/archive/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="skyrelay-archive.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["target"] for row in rows} == {"'=M 31", "M 81"}, "no formula"
    file = tmp_path / "archive.ecsv"
    file.write_bytes(gateway.get("/api/v1/archive/ecsv").content)
    table = Table.read(file)
    of_m31 = table[table["target"] == "=M 31"]
    assert of_m31["exposure_total_s"].sum() == 160.0
    assert gateway.get("/api/v1/archive/xlsx").status_code == 422


def test_the_command_shows_and_exports_the_same(gateway: GatewayClient, store: Store, tmp_path: Path) -> None:
    address = urlsplit(gateway.address)
    section = {
        "host": address.hostname,
        "port": address.port,
        "token": make_token(store, Scope.READ),
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"setup": "done", "gateway": section}), encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["archive", "--config", str(config), *arguments])
        return result.exit_code, result.output or str(result.exception)

    code, shown = run("--target", "M 81")
    assert code == 0
    assert "8 min 20 s" in shown
    assert "M 31" not in shown
    assert totals(json.loads(run("--json")[1])) == totals(gateway.read("/api/v1/archive"))
    file = tmp_path / "mine.ecsv"
    assert run("--export", str(file)) == (0, f"4 stacks are in {file}.\n")
    assert file.read_bytes() == gateway.get("/api/v1/archive/ecsv").content
    assert "ends in neither .csv nor .ecsv" in run("--export", str(tmp_path / "mine.xlsx"))[1]
