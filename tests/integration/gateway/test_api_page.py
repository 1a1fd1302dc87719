"""The examples of docs/api.md, each run with curl as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.states import BlockState
from skyrelay.settings import ArchiveSettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.transitions import move_block
from support.gateway import GatewayClient, running_gateway
from support.left_out import left_out
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
ADDRESS = "http://skyrelay.local:8474"
EXAMPLE = re.compile(
    r"```sh\n(?P<command>curl .*?)\n```(?:\n\n```(?P<kind>json|text)\n(?P<answer>.*?)\n```)?", re.DOTALL
)
EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
ENDLESS = 28  # curl's exit code for "its time was over"


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer, tmp_path: Path) -> Iterator[GatewayClient]:
    """Give a gateway with what the page speaks of."""
    cards = (
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "OBJECT  = 'M 81    '",
        "END",
    )
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "stack.fit").write_text("".join(card.ljust(80) for card in cards).ljust(2880))
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope()
        night.block(garden, "M 81", EVENING.replace(hour=19), BlockState.STACKED)
        block = night.block(garden, "M 81", EVENING.replace(hour=22), BlockState.READY)
        for state, reason in ((BlockState.STACKING, "its turn"), (BlockState.STACKED, "30 of 30 frames")):
            move_block(session, block, state, now=NOW, actor="stacker", reason=reason)
        night.stack(block).archive_path = "stack.fit"
        night.block(garden, "M 81", EVENING, BlockState.READY)
    settings = Settings(setup="done", data_dir=tmp_path, archive=ArchiveSettings(path=archive))
    with running_gateway(store, redis_server.url, settings, clock=lambda: NOW) as client:
        yield client


def test_each_example_is_answered_as_the_page_says(gateway: GatewayClient, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        left_out("curl is not installed: install the package curl")
    examples = list(EXAMPLE.finditer(PAGE.read_text()))
    assert len(examples) >= 12
    for example in examples:
        command = example["command"].replace(ADDRESS, gateway.address)
        told = run(command, tmp_path, gateway.shown["Authorization"])
        if example["kind"] == "json":
            check(json.loads(example["answer"]), json.loads(told), example["command"])
        elif example["kind"] == "text":
            assert [line for line in told.splitlines() if line in example["answer"].splitlines()][:3] == (
                example["answer"].splitlines()
            )
    assert (tmp_path / "stack.fit").stat().st_size == 2880


def run(command: str, folder: Path, shown: str) -> str:
    """Run a command of the page with a token; give what it prints."""
    arguments = ["curl", "--silent", "--show-error", "--noproxy", "*", *shlex.split(command)[1:]]
    arguments += ["-H", f"Authorization: {shown}"]
    is_endless = "-N" in arguments
    if is_endless:
        arguments += ["--max-time", "3"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (ENDLESS if is_endless else 0), f"{command}: {done.stderr}"
    return done.stdout


def check(shown: Any, told: Any, where: str) -> None:
    """Compare what the page shows with what was told, which may be more."""
    if isinstance(shown, dict):
        assert shown.keys() <= told.keys(), where
        for key, value in shown.items():
            check(value, told[key], f"{where} → {key}")
    elif isinstance(shown, list):
        assert len(shown) == len(told), f"{where}: {told}"
        for each, other in zip(shown, told, strict=True):
            check(each, other, where)
    elif shown != "…":
        assert shown == told, where


def test_the_page_names_only_calls_that_there_are(gateway: GatewayClient) -> None:
    paths = gateway.read("/openapi.json")["paths"]
    patterns = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in paths]
    named = {path.partition("?")[0] for path in re.findall(r"(/api/v1/[a-z0-9_/{} -]+)", PAGE.read_text())}
    for path in named:
        assert any(pattern.fullmatch(path.strip()) for pattern in patterns), path
