"""Each list of the API with a million frames, 30,000 blocks and stacks and 300,000 audit rows in SQLite.

The database is made once and kept in the temporary folder. Each list is read over HTTP from a gateway in a
process of its own, new each time (no ETag), beside one small answer (/healthz), which shows what HTTP alone
costs on this machine; then once more with the ETag of the answer before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import requests
from common import Goal, Report, options_of, repeats_of
from rich.console import Console
from sqlalchemy import insert

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import AuditEntry, Block, Delivery, Frame, Stack, Telescope
from support.ports import free_port
from support.waiting import eventually


class Books(NamedTuple):
    """How much is in the database; half of the blocks is asked for by number."""

    frames: int
    blocks: int
    audit: int


FULL, QUICK = Books(1_000_000, 30_000, 300_000), Books(16_000, 400, 3_000)
ROUNDS = 20
VERSION = 4  # of what is made below: a kept database of another is made anew
_TELESCOPES = ("garden", "balcony", "roof", "retired")
_TARGETS = tuple(f"NGC {number}" for number in range(7000, 7040))
_FIRST = datetime(2020, 1, 1, 20, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
_STATES = (BlockState.STACKED,) * 18 + (BlockState.SKIPPED, BlockState.READY)
_DELIVERED = (DeliveryState.CONFIRMED,) * 18 + (DeliveryState.RETRYING, DeliveryState.DEAD)
LISTS = (
    "/healthz",
    "/api/v1/telescopes",
    "/api/v1/targets",
    "/api/v1/frames",
    "/api/v1/frames?limit=500",
    "/api/v1/frames?cursor={frame}",
    "/api/v1/frames?telescope=retired",
    "/api/v1/frames?target=NGC 7000",
    "/api/v1/frames?telescope=retired&target=NGC 7039",
    "/api/v1/frames?night={night}",
    "/api/v1/frames?night={night}&telescope=garden&target=NGC 7003",
    "/api/v1/frames?state=clock wrong",
    "/api/v1/frames?state=unreadable&telescope=retired",
    "/api/v1/frames?block={block}",
    "/api/v1/blocks",
    "/api/v1/blocks?state=failed",
    "/api/v1/blocks?telescope=retired&target=NGC 7001",
    "/api/v1/blocks?night={night}",
    "/api/v1/blocks/{block}",
    "/api/v1/runs",
    "/api/v1/stacks",
    "/api/v1/stacks?target=NGC 7039",
    "/api/v1/deliveries",
    "/api/v1/deliveries?state=dead",
    "/api/v1/deliveries?telescope=retired",
    "/api/v1/nights",
    "/api/v1/audit",
    "/api/v1/audit?kind=telescope",
    "/api/v1/audit?kind=block&subject={block}",
    "/api/v1/audit?until=2020-02-01T00:00:00Z",
    "/api/v1/interrupts",
    "/api/v1/measurements",
    "/api/v1/status",
    "/metrics",
)
Rows = Iterator[dict[str, Any]]


def main() -> None:
    """Make the database where it is not there yet, measure, and print the table."""
    options = options_of(__doc__)
    report, rounds = Report("lists", options), repeats_of(options, ROUNDS, quick=2)
    books = QUICK if options.quick else FULL
    folder = Path(tempfile.gettempdir()) / f"skyrelay-bench-lists-{VERSION}-{books.blocks}"
    database = folder / "skyrelay.db"
    if not (folder / "complete").exists():
        Console().print(f"Making {database} (a minute or two) …")
        fill(database, books)
        (folder / "complete").touch()
    with subprocess.Popen(
        [sys.executable, __file__, "serve", str(database), str(port := free_port())]
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            eventually(lambda: answers(address), within_s=60)
            for path in LISTS:
                sys.stderr.write(f"{path}\n")
                asked = path.format(**asked_for(books))
                report_list(report, asked, measure(address + asked, rounds), books)
            memory = resident_mb(server.pid)
            report.add("memory of the gateway", memory, unit="MB", goal=Goal(most=120, of="ours"))
            report.close()
        finally:
            server.terminate()


def answers(address: str) -> bool:
    """Tell whether the gateway answers."""
    try:
        return requests.get(f"{address}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def asked_for(books: Books) -> dict[str, object]:
    """Give what the paths ask for: what lies in the middle of the books."""
    middle = books.blocks // 2
    return {"night": night_of_block(middle), "block": middle, "frame": books.frames // 2}


def report_list(report: Report, path: str, took_ms: tuple[list[float], list[float]], books: Books) -> None:
    """Report a list, beside the same with the ETag of the answer before."""
    plain, known = took_ms
    p95 = sorted(plain)[int(0.95 * len(plain))]
    report.add(
        f"{path}, {books.frames:,} frames; beside itself with its ETag", plain, known or None, unit="ms"
    )
    report.add(f"{path}, 95th percentile", p95, unit="ms", goal=Goal(most=50, of="ours"))


def measure(url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Read a list many times; give the milliseconds of each, and of each where nothing has changed."""
    with requests.Session() as session:
        session.trust_env = False
        first = session.get(url, timeout=60)
        assert first.ok, first.text
        plain = [timed(session, url, {}) for _ in range(rounds)]
        tag = first.headers.get("etag")
        known = [timed(session, url, {"If-None-Match": tag}) for _ in range(rounds)] if tag else []
    return plain, known


def timed(session: requests.Session, url: str, headers: dict[str, str]) -> float:
    """Give how many milliseconds an answer takes."""
    begun = time.perf_counter()
    session.get(url, headers=headers, timeout=60)
    return 1000 * (time.perf_counter() - begun)


def resident_mb(pid: int) -> float:
    """Give how much memory a process holds (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def serve(database: str, port: str) -> None:
    """Be the gateway."""
    from skyrelay.settings import Settings
    from skyrelay_gateway.service import main as gateway

    gateway(
        Settings(
            setup="done",
            database_url=f"sqlite:///{database}",
            data_dir=Path(database).parent,
            redis_url="unix:///nowhere/redis.sock",
            gateway={"host": "127.0.0.1", "port": int(port), "auth": "none"},
        )
    )


def night_of_block(number: int) -> str:
    """Give the night of a block."""
    return (_FIRST + number // 40 * timedelta(days=1)).date().isoformat()


def fill(database: Path, books: Books) -> None:
    """Write everything, oldest first, as it comes."""
    database.parent.mkdir(parents=True, exist_ok=True)
    database.unlink(missing_ok=True)
    store = Store(f"sqlite:///{database}")
    migrate(store)
    for table, rows in (
        (Telescope, telescopes()),
        (Block, blocks(books)),
        (Stack, stacks(books)),
        (Delivery, deliveries(books)),
    ):
        write(store, table, rows)
    write(store, Frame, frames(books))
    write(store, AuditEntry, audit(books))
    store.close()


def write(store: Store, table: type[Any], rows: Rows) -> None:
    """Write rows, some at a time."""
    while some := list(islice(rows, 20_000)):
        with store.write() as session:
            session.execute(insert(table), some)


def start_of(number: int) -> datetime:
    """Give the start of a block: forty a night."""
    return _FIRST + number // 40 * timedelta(days=1) + number % 40 * _QUARTER


def telescope_of(number: int) -> int:
    """Give the telescope of a block: the last one took only the first thousand."""
    return 4 if number < 1000 else number // 40 % 3 + 1


def telescopes() -> Rows:
    """Give the telescopes."""
    ports = {"rpc_port": 4700, "http_port": 80, "smb_port": 445, "smb_share": "auto", "timezone": "auto"}
    for name in _TELESCOPES:
        yield {"name": name, "serial": f"sn-{name}", "host": "192.0.2.7", "created_at": _FIRST, **ports}


def blocks(books: Books) -> Rows:
    """Give the blocks; all are of New York's winter."""
    for number in range(books.blocks):
        start, target = start_of(number) + timedelta(hours=5), _TARGETS[number // 10 % len(_TARGETS)]
        yield {
            "telescope_id": telescope_of(number), "target": target, "folder": f"{target}_sub",
            "exposure": "10.0s", "exposure_s": 10.0, "filter": "IRCUT", "start_at": start, "minutes": 15,
            "utc_offset_min": -300, "night": night_of_block(number),
            "frame_count": books.frames // books.blocks,
            "state": _STATES[number % len(_STATES)], "created_at": start, "updated_at": start,
            "intent": {"files": [f"{target}_sub/Light_{target}_{each}.fit" for each in range(33)]},
        }  # fmt: skip


def stacks(books: Books) -> Rows:
    """Give a stack for each block."""
    for number in range(books.blocks):
        start, target = start_of(number) + timedelta(hours=5), _TARGETS[number // 10 % len(_TARGETS)]
        yield {
            "block_id": number + 1, "telescope_id": telescope_of(number), "folder": target,
            "original_name": f"DSO_Stacked_{number}.fit", "renamed_at": start,
            "crowdsky_name": f"CrowdSky_33_{target}_{number}.fit",
            "chunk_key": f"{start:%Y%m%d}.00_HP033810", "frames_input": 33,
            "frames_aligned": 33, "exposure_total_s": 330.0, "first_start_at": start,
            "last_end_at": start + _QUARTER, "fetched_at": start, "created_at": start,
        }  # fmt: skip


def deliveries(books: Books) -> Rows:
    """Give a delivery for each stack."""
    for number in range(books.blocks):
        state, at = _DELIVERED[number % len(_DELIVERED)], start_of(number)
        yield {
            "stack_id": number + 1, "destination": "crowdsky", "state": state, "created_at": at,
            "updated_at": at,
        }  # fmt: skip


def frames(books: Books) -> Rows:
    """Give the frames of all blocks; one in ten thousand is held."""
    each = books.frames // books.blocks + 1
    for number in range(books.frames):
        block, of_block = divmod(number, each)
        saved = (start_of(block) + of_block * timedelta(seconds=20)).replace(tzinfo=None)
        target, is_held = _TARGETS[block // 10 % len(_TARGETS)], number % 10_000 == 0
        yield {
            "telescope_id": telescope_of(block), "folder": f"{target}_sub",
            "file_name": f"Light_{target}_10.0s_IRCUT_{saved:%Y%m%d-%H%M%S}.fit", "target": target,
            "exposure": "10.0s", "exposure_s": 10.0, "filter": "IRCUT", "saved_local": saved,
            "start_at": saved.replace(tzinfo=UTC) + timedelta(hours=5), "utc_offset_min": -300,
            "size_bytes": 4_154_880, "state": FrameState.CLOCK_WRONG if is_held else FrameState.OK,
            "seen_by": "watcher", "seen_at": saved.replace(tzinfo=UTC) + timedelta(hours=5),
            "block_id": None if is_held else block + 1, "stack_id": None if is_held else block + 1,
        }  # fmt: skip


def audit(books: Books) -> Rows:
    """Give ten steps for each block, and now and then one of a telescope."""
    for number in range(books.audit):
        kind = "telescope" if number % 10_000 == 0 else "block" if number % 2 else "delivery"
        yield {
            "at": start_of(number // 10), "actor": "stacker", "subject_kind": kind,
            "subject_id": number // 10 + 1, "event": "step", "from_state": "ready", "to_state": "stacking",
        }  # fmt: skip


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["serve"] else main()
