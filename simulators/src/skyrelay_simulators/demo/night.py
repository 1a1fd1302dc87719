"""Play the demo's night: start everything, watch it, and hold the receipt against the simulators' books."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from skyrelay.receipt_text import render_receipt
from skyrelay.store.receipts import Receipt
from skyrelay_simulators.demo.errors import DemoFailed
from skyrelay_simulators.demo.processes import Processes
from skyrelay_simulators.demo.scene import ACCOUNT, PASSWORD, Places, Wishes, write_config, write_site
from skyrelay_simulators.demo.watching import Gateway, Simulators, render_progress

_START_WITHIN_S = 60.0
_NIGHT_WITHIN_S = 600.0  # with large real frames on a small machine
_LOOK_EVERY_S = 0.25


def play_demo(wishes: Wishes) -> int:
    """Play the night; give the exit code."""
    console = Console(stderr=wishes.as_json)
    began = time.monotonic()
    with _folder(wishes.folder) as folder, _ended_by_signal():
        try:
            with Processes(folder / "logs") as processes:
                night = _prepare(processes, Places(folder), wishes, console)
                receipts = night.play()
                night.report(receipts, time.monotonic() - began)
                if wishes.keep:
                    night.stay()
        except KeyboardInterrupt:
            console.print("Stopped.")
            return 130
        except DemoFailed as error:
            console.print(f"[bold red]The demo failed.[/] {error}", highlight=False)
            _save_logs(folder, console)
            return 1
    return 0


def _prepare(processes: Processes, places: Places, wishes: Wishes, console: Console) -> _Night:
    console.print("Starting two simulators and the services …" if not wishes.frames else "Starting …")
    write_site(places, wishes.frames)
    processes.start(
        "telescopes",
        "simulate",
        "telescope",
        "--site",
        str(places.site),
        "--endpoints",
        str(places.endpoints),
    )
    processes.start(
        "crowdsky", "simulate", "crowdsky", "--port", "0", "--data-dir", str(places.folder / "crowdsky"),
        "--username", ACCOUNT, "--ready-file", str(places.crowdsky), "--processing-delay-s", "1",
        environment={"CROWDSKY_PASSWORD": PASSWORD},
    )  # fmt: skip
    processes.wait_for("the telescopes answer", places.endpoints.exists, _START_WITHIN_S)
    processes.wait_for("CrowdSky answers", places.crowdsky.exists, _START_WITHIN_S)
    gateway = Gateway(write_config(places, wishes.port))
    processes.start("services", "up", "--config", str(places.config))
    processes.wait_for("all services work", gateway.is_ready, _START_WITHIN_S)
    control = json.loads(places.endpoints.read_text(encoding="utf-8"))["control"]
    crowdsky = json.loads(places.crowdsky.read_text(encoding="utf-8"))["base_url"]
    return _Night(processes, gateway, Simulators(control, crowdsky), console, wishes)


@dataclass(frozen=True, slots=True)
class _Night:
    processes: Processes
    gateway: Gateway
    simulators: Simulators
    console: Console
    wishes: Wishes

    def play(self) -> list[Receipt]:
        """Let the night begin and wait until nothing of it waits any more; give its receipts."""
        self.console.print(f"Everything runs; look at [bold]{self.gateway.address}/[/] The night begins.")
        self.simulators.start_night()
        deadline = time.monotonic() + _NIGHT_WITHIN_S
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while not (receipts := self._finished()):
                live.update(render_progress(self.simulators.night(), self.gateway.status()))
                self.processes.check()
                if time.monotonic() > deadline:
                    raise DemoFailed(f"the night was not over within {_NIGHT_WITHIN_S:.0f} s")
                time.sleep(_LOOK_EVERY_S)
        return receipts

    def report(self, receipts: list[Receipt], took_s: float) -> None:
        """Print the receipts and compare them with what the simulators have written down."""
        for receipt in receipts:
            if self.wishes.as_json:
                print(receipt.model_dump_json(indent=2))  # noqa: T201 - what was asked for
            else:
                self.console.print(render_receipt(receipt))
        written, kept = self.simulators.night()["written"], self.simulators.kept()
        frames = sum(receipt.totals.frames for receipt in receipts)
        delivered = [block.stack_name for receipt in receipts for group in receipt.groups for block in group.blocks
                     if block.deliveries]  # fmt: skip
        if frames != written or any(receipt.totals.frames_missing for receipt in receipts):
            raise DemoFailed(f"the telescopes wrote {written} frames, the receipts account for {frames}")
        if sorted(name or "" for name in delivered) != sorted(kept):
            raise DemoFailed(
                f"delivered by the receipts: {sorted(map(str, delivered))}; kept by the server: {sorted(kept)}"
            )
        self.console.print(
            f"[bold green]Nothing missing, nothing twice:[/] {written} frames written by the telescopes, "
            f"{len(kept)} stacks kept by the server. It took {took_s:.0f} s."
        )

    def stay(self) -> None:
        """Leave everything running until Ctrl-C."""
        self.console.print(f"Still running: [bold]{self.gateway.address}/[/] Ctrl-C ends it.")
        while True:
            self.processes.check()
            time.sleep(_LOOK_EVERY_S)

    def _finished(self) -> list[Receipt]:
        """Give the receipts once the night is over and nothing waits; until then none."""
        night = self.simulators.night()
        problems = [each["error"] for each in night["telescopes"] if each["error"]]
        if problems:
            raise DemoFailed(f"the night broke off: {problems[0]}")
        if not night["done"]:
            return []
        receipts = self.gateway.receipts()
        seen = sum(receipt.totals.frames for receipt in receipts)
        is_over = seen == night["written"] and all(
            receipt.complete and receipt.totals.confirmed == receipt.totals.deliveries for receipt in receipts
        )
        return receipts if is_over else []


@contextmanager
def _folder(wished: Path | None) -> Iterator[Path]:
    if wished is not None:
        if wished.exists() and any(wished.iterdir()):
            raise DemoFailed(f"{wished} is not empty: give a new folder")
        wished.mkdir(parents=True, exist_ok=True)
        yield wished.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="skyrelay-demo-") as folder:
        yield Path(folder)


def _save_logs(folder: Path, console: Console) -> None:
    """Keep what the processes said, since the demo's folder goes."""
    kept = Path(tempfile.mkdtemp(prefix="skyrelay-demo-logs-"))
    shutil.copytree(folder / "logs", kept, dirs_exist_ok=True)
    console.print(f"What the processes said lies in {kept}")


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
