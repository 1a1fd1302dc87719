"""What the pages cost with a million frames, 30,000 blocks and 30,000 stacks in SQLite, and 200 who watch.

The gateway runs as the process that people run. Each page is asked for over HTTP, one at a time, and painted
by a Chromium without a cache; then its memory is read, and, while 200 streams of events are open and nothing
happens, its processor time.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from common import Goal, Report, options_of, repeats_of
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import insert

from skyrelay.domain.states import BlockState, DeliveryState, FrameState, TelescopeState
from skyrelay.settings import GatewaySettings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import AuditEntry, Base, Block, Delivery, Frame, Stack, Telescope
from support.browser import PHONE
from support.ports import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually


class Books(NamedTuple):
    """How much is in the database."""

    frames: int
    blocks: int


FULL, QUICK = Books(1_000_000, 30_000), Books(10_000, 300)
TELESCOPES = 4
VIEWERS = 200
VISITORS = 8
ROUNDS = 60
WATCH_S = 20.0
PAINTS = 7
PAINTED = ("/", "/gallery", "/sky", "/nights/2020-01-05")
PAGES = (
    "/",
    "/?night=2020-01-05",
    "/nights",
    "/nights/2020-01-05",
    "/gallery",
    "/gallery?target=M+31",
    "/gallery?cursor={row}",
    "/gallery/{row}",
    "/sky",
    "/deliveries",
    "/deliveries?state=dead",
    "/deliveries?cursor={row}",
    "/telescopes",
    "/plan",
    "/settings",
    "/parts/headline",
)
# The browser may have painted before it is asked, or be about to.
_FIRST_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
  for (const entry of list.getEntriesByName("first-contentful-paint")) { resolve(entry.startTime); }
}).observe({ type: "paint", buffered: true }))"""
_FIRST = datetime(2020, 1, 1, 20, 0, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
_BLOCKS_A_NIGHT = 20
_TARGETS = tuple(f"{catalogue} {number}" for catalogue in ("M", "NGC", "IC") for number in range(1, 101))


def main() -> None:
    """Measure and report."""
    options = options_of(__doc__)
    report, books = Report("dashboard", options), QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fill(Path(folder) / "skyrelay.db", books)
        redis = RedisServer(Path(folder))
        redis.start()
        stack.callback(redis.stop)
        port = free_port()
        pid = stack.enter_context(gateway(Path(folder), redis.url, port))
        memory = Goal(most=120, of="ours")
        report.add("memory (PSS) of the gateway at the start", memory_mb(pid), unit="MB", goal=memory)
        report_pages(report, port, books, repeats_of(options, ROUNDS, quick=3))
        report_paints(report, port, repeats_of(options, PAINTS, quick=1))
        report.add("memory (PSS) of the gateway after the pages", memory_mb(pid), unit="MB", goal=memory)
        visit_together(port, books)
        what = f"memory (PSS) of the gateway after {VISITORS} visitors at a time"
        report.add(what, memory_mb(pid), unit="MB", goal=memory)
        report_viewers(report, pid, port, 2.0 if options.quick else WATCH_S)
    report.close()


def report_pages(report: Report, port: int, books: Books, rounds: int) -> None:
    """Ask for each page some times, in turn with an answer that asks nobody."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for page in pages_of(books):
        took_ms, beside_ms = [], []
        for _ in range(rounds):
            took_ms.append(1000 * ask(connection, page))
            beside_ms.append(1000 * ask(connection, "/healthz"))
        what, p95 = f"{page}, {books.frames:,} frames", statistics.quantiles(took_ms, n=20)[-1]
        report.add(f"{what}, first", took_ms[0], unit="ms", goal=Goal(most=1000, of="ours"))
        report.add(f"{what}, beside /healthz", took_ms, beside_ms, unit="ms")
        report.add(f"{what}, 95th percentile", p95, unit="ms", goal=Goal(most=50, of="ours"))
    connection.close()


def pages_of(books: Books) -> list[str]:
    """Give the pages that are asked for, with a row from the middle of the books."""
    return [each.format(row=books.blocks // 2) for each in PAGES]


def visit_together(port: int, books: Books) -> None:
    """Have some visitors ask for all pages, all at the same time."""

    def visit() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for page in pages_of(books):
            ask(connection, page)
        connection.close()

    with ThreadPoolExecutor(VISITORS) as visitors:
        for visited in [visitors.submit(visit) for _ in range(2 * VISITORS)]:
            visited.result()


def report_paints(report: Report, port: int, times: int) -> None:
    """Have a browser of a telephone's size open some pages as for the first time."""
    program = shutil.which("chromium")
    if program is None:
        print("Chromium is not installed: no paint is measured")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for page in PAINTED:
            took_ms = [1000 * painted_after(browser, f"http://127.0.0.1:{port}{page}") for _ in range(times)]
            report.add(f"first paint of {page}", took_ms, unit="ms", goal=Goal(most=1000, of="ours"))
        browser.close()


def painted_after(browser: Browser, address: str) -> float:
    """Give the seconds from asking for a page to its first contentful paint, in a fresh profile."""
    page = browser.new_page(viewport=PHONE)
    page.goto(address, wait_until="load")
    first = page.evaluate(_FIRST_PAINT)
    page.close()
    return float(first) / 1000


def ask(connection: http.client.HTTPConnection, page: str) -> float:
    """Give the seconds that an answer takes."""
    began = time.perf_counter()
    connection.request("GET", page, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{page}: {answer.status} {body[:300]!r}")
    return time.perf_counter() - began


def report_viewers(report: Report, pid: int, port: int, seconds: float) -> None:
    """Say what open streams cost while nothing happens, beside none."""
    alone = 100 * busy_share(pid, seconds)
    with ExitStack() as stack:
        for _ in range(VIEWERS):
            stack.enter_context(viewer(port))
        time.sleep(2)  # until all are greeted
        watched = 100 * busy_share(pid, seconds)
        goal = Goal(most=10, of="ours")
        report.add(f"{VIEWERS} watch, beside nobody", watched, alone, unit="% of a core", goal=goal)
        memory = Goal(most=120, of="ours")
        report.add("memory (PSS) of the gateway with them", memory_mb(pid), unit="MB", goal=memory)


@contextmanager
def viewer(port: int) -> Iterator[socket.socket]:
    """Open a stream of events."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        )
        if b" 200 " not in connection.recv(4096):
            raise SystemExit("the events are not told")
        yield connection


def busy_share(pid: int, seconds: float) -> float:
    """Give the share of a core that a process takes over some seconds."""
    before = processor_s(pid)
    time.sleep(seconds)
    return (processor_s(pid) - before) / seconds


def processor_s(pid: int) -> float:
    """Give the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Give the proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("the kernel does not say how much memory a process has")


@contextmanager
def gateway(folder: Path, redis_url: str, port: int) -> Iterator[int]:
    """Run the gateway as people do; give its process id."""
    own = {"host": "127.0.0.1", "port": port, **({"auth": "none"} if has_login() else {})}
    settings = {"setup": "done", "data_dir": str(folder), "redis_url": redis_url, "gateway": own}
    with ServiceProcess("gateway", folder, settings) as process:
        eventually(lambda: answers(port))
        yield process.pid


def has_login() -> bool:
    """Tell whether the gateway has a login, which the measured pages go without."""
    return "auth" in GatewaySettings.model_fields


def answers(port: int) -> bool:
    """Tell whether the gateway answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def fill(database: Path, books: Books) -> None:
    """Lay down the telescopes and what they did in years."""
    store = Store(f"sqlite:///{database}")
    migrate(store)
    for table, rows in (
        (Telescope, telescopes()),
        (Block, blocks(books)),
        (Stack, stacks(books)),
        (Delivery, deliveries(books)),
        (Frame, frames(books)),
        (AuditEntry, steps(books)),
    ):
        insert_all(store, table, rows)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def insert_all(store: Store, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    """Write rows, in portions that one statement can take."""
    with store.write() as session:
        while portion := list(islice(rows, 10_000)):
            session.execute(insert(table), portion)


def telescopes() -> Iterator[dict[str, Any]]:
    """Give idle telescopes."""
    for number in range(1, TELESCOPES + 1):
        yield {
            "id": number,
            "name": f"telescope {number}",
            "serial": f"sn{number}",
            "host": "192.0.2.7",
            "rpc_port": 4700,
            "http_port": 80,
            "smb_port": 445,
            "smb_share": "auto",
            "timezone": "Europe/Vienna",
            "state": TelescopeState.READY,
            "state_reason": "",
            "created_at": _FIRST,
        }


def start_of(block: int) -> datetime:
    """Give when a block began; each night has some."""
    night, number = divmod(block - 1, _BLOCKS_A_NIGHT)
    return _FIRST + timedelta(days=night) + number * _QUARTER


def target_of(block: int) -> str:
    """Give the target of a block; each is watched for an hour at a time."""
    return _TARGETS[(block // 4) % len(_TARGETS)]


def blocks(books: Books) -> Iterator[dict[str, Any]]:
    """Give the blocks, all stacked but for the last ones."""
    for number in range(1, books.blocks + 1):
        start = start_of(number)
        yield {
            "id": number,
            "telescope_id": 1 + number % TELESCOPES,
            "target": target_of(number),
            "folder": f"{target_of(number)}_sub",
            "exposure": "20.0s",
            "exposure_s": 20.0,
            "filter": "LP",
            "start_at": start,
            "minutes": 15,
            "utc_offset_min": 60,
            "night": f"{start:%Y-%m-%d}",
            "frame_count": books.frames // books.blocks,
            "state": BlockState.STACKED if number <= books.blocks - 3 else BlockState.READY,
            "needs_you": False,
            "requested": False,
            "attempts": 1,
            "reason": "",
            "intent": {"files": [f"Light_{each}.fit" for each in range(books.frames // books.blocks)]},
            "created_at": start,
            "updated_at": start,
        }


def stacks(books: Books) -> Iterator[dict[str, Any]]:
    """Give a stack of each block."""
    for number in range(1, books.blocks + 1):
        start, target = start_of(number), target_of(number)
        place = _TARGETS.index(target)
        key = f"{start:%Y%m%d}.{number % 96:02d}_HP{place:06d}"
        yield {
            "id": number,
            "block_id": number,
            "telescope_id": 1 + number % TELESCOPES,
            "folder": target,
            "original_name": f"DSO_Stacked_{number}.fit",
            "crowdsky_name": f"CrowdSky_33_{target}_20.0s_LP_{key}.fit",
            "chunk_key": key,
            "frames_input": 33,
            "frames_aligned": 33,
            "exposure_total_s": 660.0,
            "first_start_at": start,
            "last_end_at": start + _QUARTER,
            "ra_deg": place * 7.0 % 360,
            "dec_deg": place * 0.55 - 80,
            "thumbnail_path": f"{target}/{number}.jpg",
            "size_bytes": 12_000_000,
            "renamed_at": start,
            "fetched_at": start,
            "fetch_attempts": 1,
            "is_offered": False,
            "created_at": start,
        }


def deliveries(books: Books) -> Iterator[dict[str, Any]]:
    """Give the delivery of each stack; one in a thousand was given up."""
    for number in range(1, books.blocks + 1):
        start = start_of(number)
        yield {
            "stack_id": number,
            "kind": "stack",
            "destination": "crowdsky",
            "state": DeliveryState.CONFIRMED if number % 1000 else DeliveryState.DEAD,
            "reason": "",
            "attempts": 1,
            "item_faults": 0,
            "needs_you": False,
            "ask_first": False,
            "created_at": start,
            "updated_at": start,
        }


def frames(books: Books) -> Iterator[dict[str, Any]]:
    """Give the frames of each block."""
    each = -(-books.frames // books.blocks)
    for number in range(books.frames):
        block = number // each + 1
        start, target = start_of(block) + timedelta(seconds=22 * (number % each)), target_of(block)
        yield {
            "telescope_id": 1 + block % TELESCOPES,
            "folder": f"{target}_sub",
            "file_name": f"Light_{target}_20.0s_LP_{start:%Y%m%d-%H%M%S}.fit",
            "target": target,
            "exposure": "20.0s",
            "exposure_s": 20.0,
            "filter": "LP",
            "saved_local": (start + timedelta(hours=1)).replace(tzinfo=None),
            "start_at": start,
            "utc_offset_min": 60,
            "size_bytes": 4_154_880,
            "state": FrameState.OK,
            "needs_release": False,
            "is_no_fits": False,
            "seen_by": "watcher",
            "seen_at": start,
            "block_id": block,
            "stack_id": block if block <= books.blocks - 3 else None,
        }


def steps(books: Books) -> Iterator[dict[str, Any]]:
    """Give the audit log: three steps of each block."""
    for number in range(1, books.blocks + 1):
        for before, after in (("collecting", "ready"), ("ready", "stacking"), ("stacking", "stacked")):
            yield {
                "at": start_of(number),
                "actor": "stacker",
                "subject_kind": "block",
                "subject_id": number,
                "event": "step",
                "from_state": before,
                "to_state": after,
                "reason": "",
            }


if __name__ == "__main__":
    main()
