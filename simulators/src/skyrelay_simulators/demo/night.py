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
from skyrelay_simulators.demo.scene import (
    ACCOUNT,
    ANY_HOST,
    CLOUD_PORT,
    CROWDSKY_PORT,
    DEMO_PROJECT,
    HOST,
    PASSWORD,
    Places,
    Wishes,
    base_url_in,
    write_config,
    write_site,
)
from skyrelay_simulators.demo.watching import Gateway, Simulators, render_progress

_START_WITHIN_S = 120.0
_NIGHT_WITHIN_S = 600.0  # with large real frames on a small machine
_LOOK_EVERY_S = 0.25
_ENDED_BY_PERSON = 130
_LOG_WIDTH = 130


def play_demo(wishes: Wishes) -> int:
    """Run simulators and services, play the night, print its receipt; give the exit code."""
    console = _console(stderr=wishes.as_json)
    began = time.monotonic()
    with _ended_by_signal():
        try:
            with (
                _folder(wishes.folder) as folder,
                _logs_saved(folder, console),
                Processes(folder / "logs") as processes,
            ):
                night = _prepare(processes, Places(folder), wishes, console)
                night.report(night.play())
                console.print(f"It took {time.monotonic() - began:.0f} s.", highlight=False)
                if wishes.keep:
                    night.stay()
        except KeyboardInterrupt:
            console.print("Stopped.")
            return 0 if wishes.keep else _ENDED_BY_PERSON
        except DemoFailed as error:
            console.print(f"[bold red]The demo failed.[/] {error}", highlight=False)
            return 1
    return 0


def play_beside(folder: Path, gateway_address: str, project: str, data_dir: Path) -> int:
    """Run the simulators for services that are configured for them, play the night, and stay.

    ``data_dir`` is the services' folder. Give the exit code; 2 when it was started in a project that may be
    somebody's home.
    """
    console = _console()
    if project != DEMO_PROJECT:
        console.print(
            f"The demo wants a project of its own: docker compose -p {DEMO_PROJECT} --profile demo up"
        )
        return 2
    places = Places(folder)
    for left_over in (places.endpoints, places.crowdsky, places.cloud):
        left_over.unlink(missing_ok=True)
    try:
        with _ended_by_signal(), Processes(folder / "logs") as processes:
            write_site(places, None, fixed_ports=True)
            simulators = _start_simulators(processes, places, ANY_HOST, (CROWDSKY_PORT, CLOUD_PORT))
            gateway = Gateway(gateway_address, data_dir)
            processes.wait_for("all services work", gateway.is_ready, _START_WITHIN_S)
            night = _Night(processes, gateway, simulators, console, Wishes(keep=True))
            night.report(night.play())
            night.stay()
    except KeyboardInterrupt:
        return 0
    except DemoFailed as error:
        console.print(f"The demo failed. {error}", highlight=False)
    return 1


def _prepare(processes: Processes, places: Places, wishes: Wishes, console: Console) -> _Night:
    console.print("Starting the simulators and the services …")
    write_site(places, wishes.frames)
    simulators = _start_simulators(processes, places, HOST, (0, 0))
    gateway = Gateway(write_config(places, wishes.port), places.data_dir)
    processes.start("services", "up", "--config", str(places.config))
    processes.wait_for("all services work", gateway.is_ready, _START_WITHIN_S)
    return _Night(processes, gateway, simulators, console, wishes)


def _start_simulators(processes: Processes, places: Places, host: str, ports: tuple[int, int]) -> Simulators:
    site = ["--site", str(places.site), "--endpoints", str(places.endpoints)]
    processes.start("telescopes", "simulate", "telescope", *site)
    account, password = ["--username", ACCOUNT, "--processing-delay-s", "1"], {"CROWDSKY_PASSWORD": PASSWORD}
    crowdsky = _server_options(places, "crowdsky", host, ports[0])
    processes.start("crowdsky", "simulate", "crowdsky", *crowdsky, *account, environment=password)
    processes.start("cloud", "simulate", "cloud", *_server_options(places, "cloud", host, ports[1]))
    for file in (places.endpoints, places.crowdsky, places.cloud):
        processes.wait_for(
            f"the simulator that announces itself in {file.name}", file.exists, _START_WITHIN_S
        )
    control = json.loads(places.endpoints.read_text(encoding="utf-8"))["control"]
    return Simulators(control, base_url_in(places.crowdsky), base_url_in(places.cloud))


def _server_options(places: Places, name: str, host: str, port: int) -> list[str]:
    where = ["--host", host, "--port", str(port), "--data-dir", str(places.folder / name)]
    return [*where, "--ready-file", str(places.folder / f"{name}.json")]


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

    def report(self, receipts: list[Receipt]) -> None:
        """Print the receipts and compare them with what the simulators have written down."""
        for receipt in receipts:
            if self.wishes.as_json:
                print(receipt.model_dump_json(indent=2))  # noqa: T201 - what was asked for
            else:
                self.console.print(render_receipt(receipt))
        written, kept = self.simulators.night()["written"], sorted(self.simulators.kept())
        seen = sum(receipt.totals.frames for receipt in receipts)
        if seen != written or any(receipt.totals.frames_missing for receipt in receipts):
            raise DemoFailed(f"the telescopes wrote {written} frames, the receipts account for {seen}")
        delivered = sorted(_delivered_names(receipts))
        if delivered != kept:
            raise DemoFailed(f"delivered by the receipts: {delivered}; kept by the server: {kept}")
        self.console.print(
            f"[bold green]Nothing missing, nothing twice:[/] {written} frames written by the telescopes, "
            f"{len(kept)} {'stack' if len(kept) == 1 else 'stacks'} kept by the server. "
            "The network's cloud hears from this node."
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
        is_over = (
            seen >= night["written"]
            and self.simulators.heartbeats() > 0
            and all(
                receipt.complete and receipt.totals.confirmed == receipt.totals.deliveries
                for receipt in receipts
            )
        )
        return receipts if is_over else []


def _console(*, stderr: bool = False) -> Console:
    """Give a console; in a log file the names of stacks are not folded."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_LOG_WIDTH)


def _delivered_names(receipts: list[Receipt]) -> Iterator[str]:
    for receipt in receipts:
        for group in receipt.groups:
            yield from (block.stack_name or "" for block in group.blocks if block.deliveries)


@contextmanager
def _folder(wished: Path | None) -> Iterator[Path]:
    if wished is None:
        with tempfile.TemporaryDirectory(prefix="skyrelay-demo-") as folder:
            yield Path(folder)
        return
    if wished.exists() and any(wished.iterdir()):
        raise DemoFailed(f"{wished} is not empty: give a new folder")
    wished.mkdir(parents=True, exist_ok=True)
    yield wished.resolve()


@contextmanager
def _logs_saved(folder: Path, console: Console) -> Iterator[None]:
    """Keep what the processes said when the demo fails, since its folder goes."""
    try:
        yield
    except DemoFailed:
        kept = tempfile.mkdtemp(prefix="skyrelay-demo-logs-")
        shutil.copytree(folder / "logs", kept, dirs_exist_ok=True)
        console.print(f"What the processes said lies in {kept}", highlight=False)
        raise


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
