"""The OpenAPI document is true: whatever is asked, right or wrong, is answered as it says."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.settings import ArchiveSettings, CloudSettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Discovery
from skyrelay_gateway.readiness import SERVICES
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
# For each operation, of right requests and of wrong ones: the short play is part of the tests,
# ``TESTS_LONG_PLAY=examples`` makes it that many examples long, and other ones each time.
EXAMPLES = int(os.environ.get("TESTS_LONG_PLAY", "1"))
SEED = None if "TESTS_LONG_PLAY" in os.environ else 20250326
# What JSON Schema cannot say: one of several fields, bounds of a date, an address of a home, our own cursors.
RULES = (
    "name a ",
    "needs ",
    "is not one of ours",
    "should be greater than or equal to 2000-01-01",
    "should be less than or equal to 2999-12-31",
    "is no address",
    "is no network",
    "too many",
    "is no IANA time zone",
    "The network could not take it",
    "Idempotency-Key: stands for another call",  # the same made-up one for two calls
)
WAITS = "/api/v1/purge"  # for the list of a stacker
ENDLESS = {"/api/v1/events"}  # test_events.py reads it
# Whether a value fits the rest of the settings no schema tells: a right body may be refused, with a 422.
JUDGED_AS_A_WHOLE = {"/api/v1/settings"}


def lay_down(store: Store, archive: Path) -> None:
    """Record a bit of everything."""
    (archive / "garden").mkdir(parents=True)
    (archive / "garden" / "small.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    header = b"".join(each.ljust(80) for each in (b"SIMPLE  =                    T", b"NAXIS   = 0", b"END"))
    (archive / "garden" / "stack.fit").write_bytes(header.ljust(2880))
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope()
        for number, state in enumerate((BlockState.STACKED, BlockState.READY, BlockState.SKIPPED)):
            at = EVENING.replace(hour=18 + number)
            stack = night.stack(night.block(garden, "M 81", at, state, frames=3))
            stack.archive_path, stack.thumbnail_path = "garden/stack.fit", "garden/small.jpg"
            night.delivery(stack, list(DeliveryState)[number])
        night.frame(garden, "M 81", EVENING, state=FrameState.CLOCK_WRONG, needs_release=True)
        session.add(Discovery(addresses=[], asked_at=stack.created_at, problem=""))


@pytest.fixture
def gateway(tmp_path: Path, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway on that store, with a real Redis."""
    store = Store(f"sqlite:///{tmp_path / 'skyrelay.db'}")
    migrate(store)
    lay_down(store, tmp_path / "archive")
    configured = Settings(
        setup="done",
        data_dir=tmp_path,
        archive=ArchiveSettings(path=tmp_path / "archive"),
        cloud=CloudSettings(enabled=True, url="http://127.0.0.1:9"),
    )
    with connect_redis(redis_server.url) as redis:
        for service in SERVICES:
            beat(redis, service, NOW, state="working")
    with running_gateway(store, redis_server.url, configured, clock=lambda: NOW) as client:
        yield client
    store.close()


def test_schemathesis_finds_nothing(gateway: GatewayClient) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.address}/openapi.json", headers=gateway.shown)
    session = requests.Session()
    session.trust_env = False
    session.headers.update(gateway.shown)
    seen = set()
    problems: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                ask(operation.as_strategy(generation_mode=mode), session)
            except Unsatisfiable:
                pass  # an operation that takes nothing cannot be asked wrongly
            except BaseExceptionGroup as group:
                problems.append(f"{operation.label} ({mode.value}): {group.exceptions}")
            except Exception as error:  # noqa: BLE001 - each operation's fault is shown, not the first one's alone
                problems.append(f"{operation.label} ({mode.value}): {error}")
        seen.add(operation.label)
    assert not problems, "\n\n".join(problems)
    assert len(seen) > 35


def test_every_call_has_an_example_that_is_taken(gateway: GatewayClient) -> None:
    document = gateway.read("/openapi.json")
    tried = 0
    for path, methods in document["paths"].items():
        for call in (each for method, each in methods.items() if method == "post"):
            if "access" in call["tags"]:  # an example of a password would be one that somebody takes
                continue
            reference = call["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            examples = document["components"]["schemas"][reference.rpartition("/")[2]]["examples"]
            for example in examples:
                answer = gateway.post(
                    re.sub(r"\{telescope\}", "garden", re.sub(r"\{\w+_id\}", "1", path)), example
                )
                assert answer.status_code in {200, 201, 202, 404, 409}, f"{path}: {answer.text}"
                tried += 1
    assert tried > 15


def ask_without_patience(case: Case) -> None:
    """Have a call not wait for a stacker that is not there: it would, up to half a minute each time."""
    if (
        case.operation.path == WAITS
        and isinstance(case.body, dict)
        and isinstance(case.body.get("wait_s", 0), float | int)
    ):
        case.body["wait_s"] = min(case.body.get("wait_s", 0), 0)


def ask(strategy: Any, session: requests.Session) -> None:
    """Ask what ``strategy`` makes up; in the short play the same each time."""

    @seeded(random.getrandbits(64) if SEED is None else SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def each(case: Case) -> None:
        ask_without_patience(case)
        answer = case.call(session=session, timeout=30)
        is_judged = case.operation.path in JUDGED_AS_A_WHOLE
        is_refused = answer.status_code == 422
        if not (is_refused and (is_judged or any(rule in answer.json()["detail"] for rule in RULES))):
            case.validate_response(answer)

    each()
