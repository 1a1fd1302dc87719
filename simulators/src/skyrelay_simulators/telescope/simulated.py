"""One simulated telescope: start it, use its ports, drive it, read its journal, stop it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from skyrelay_simulators.telescope.clock import Clock, SystemClock, WallClock
from skyrelay_simulators.telescope.device import Device, build_device
from skyrelay_simulators.telescope.emmc import Emmc
from skyrelay_simulators.telescope.events import Events
from skyrelay_simulators.telescope.faults import Fault, FaultBoard, SwitchedOff
from skyrelay_simulators.telescope.http_files import FileServer
from skyrelay_simulators.telescope.journal import Journal
from skyrelay_simulators.telescope.network import Network
from skyrelay_simulators.telescope.observation import Activity, View
from skyrelay_simulators.telescope.rpc_server import RpcServer
from skyrelay_simulators.telescope.smb_server import SmbServer
from skyrelay_simulators.telescope.spec import ANY_FREE_PORT, Endpoint, TelescopeSpec

_START_S = 30.0  # seconds for all servers together
_STOP_S = 5.0
_DEGREES_PER_HOUR = 15.0


class SimulatedTelescope:
    """A telescope on this machine's network; several may run in one process.

    Every instance has one thread with an event loop for its sockets, one more while it stacks, and one
    process group for its share. Use it as a context manager, or call `start` and `stop`.

    Parameters
    ----------
    spec
        What to simulate.
    clock
        Where the time comes from.
    """

    def __init__(self, spec: TelescopeSpec, *, clock: Clock | None = None) -> None:
        self.spec = spec
        self.clock = clock or SystemClock()
        self.journal = Journal(self.clock, spec.journal_path)
        self.wall_clock = WallClock(self.clock, spec.timezone)
        self._loop = asyncio.new_event_loop()
        events = Events(self._loop, self.wall_clock)
        self.device: Device = build_device(
            spec, clock=self.clock, wall_clock=self.wall_clock, journal=self.journal, events=events
        )
        self.device.reboot = self._reboot_soon
        self._smb = SmbServer(replace(spec, smb_port=ANY_FREE_PORT))  # clients come through the wire
        self._network = Network(self.device, lambda: self._smb.address)
        self._reboots: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=f"telescope-{spec.serial}", daemon=True)
        self._started: Future[None] = Future()
        self._stopping = asyncio.Event()

    @property
    def endpoint(self) -> Endpoint:
        """Where the telescope answers; raises `RuntimeError` before `start`."""
        if not self._started.done():
            raise RuntimeError(f"telescope {self.spec.serial} is not started")
        self._started.result()
        return self._network.endpoint

    @property
    def smb_server(self) -> tuple[str, int] | None:
        """Where the program listens that stands behind the share's port; `None` without a share."""
        return self._smb.address

    @property
    def rpc(self) -> RpcServer:
        """The command port."""
        return self._network.rpc

    @property
    def files(self) -> FileServer:
        """The file port."""
        return self._network.files

    @property
    def faults(self) -> FaultBoard:
        """What goes wrong; to change it use `switch_on` and `switch_off`."""
        return self.device.faults

    @property
    def emmc(self) -> Emmc:
        """The telescope's storage."""
        return self.device.emmc

    @property
    def observing(self) -> bool:
        """Whether a view or a plan is working."""
        return self.device.observation.busy

    @property
    def stacking(self) -> bool:
        """Whether a batch stack is being made."""
        return self.device.batch_stack.busy

    def start(self) -> Self:
        """Open all ports; give the telescope itself.

        Raises
        ------
        OSError
            If a port is taken.
        SmbStartError
            If the share's server does not come up.
        """
        try:
            self._smb.start()
            self._thread.start()
            self._started.result(_START_S)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close all ports and end everything that runs; calling it twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_S)
        self.device.batch_stack.stop()
        self._smb.stop()
        if not self._loop.is_closed() and not self._loop.is_running():
            self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def observe(
        self, target: str, *, ra_deg: float = 0.0, dec_deg: float = 0.0, lp_filter: bool = False
    ) -> None:
        """Observe a target, as if somebody had started it from the phone (thread-safe)."""
        hours = ra_deg / _DEGREES_PER_HOUR
        self.device.observation.begin(
            View(Activity.WORKING, "Stack", "star", target, hours, dec_deg, lp_filter)
        )

    def finish_observing(self) -> None:
        """Stop observing (thread-safe)."""
        self.device.observation.end()

    def switch_on(self, *faults: Fault) -> None:
        """Switch faults on, and return when they hold (thread-safe)."""
        for fault in faults:
            self.faults.set(fault)
        self._settle()

    def switch_off(self, *kinds: type[Fault]) -> None:
        """Switch faults off, all if none is named, and return when that holds (thread-safe)."""
        for kind in kinds:
            self.faults.unset(kind)
        if not kinds:
            self.faults.clear()
        self._settle()

    def reboot(self, seconds: float = 0.0) -> None:
        """Reboot, and return when the telescope is back (thread-safe)."""
        asyncio.run_coroutine_threadsafe(self._reboot(seconds), self._loop).result(_START_S + seconds)

    def drop_connections(self) -> None:
        """Drop all connections of the command port, as bad Wi-Fi does (thread-safe)."""
        self._loop.call_soon_threadsafe(self.rpc.drop_connections)

    def state(self) -> dict[str, Any]:
        """Give what a person or a driver wants to know, as JSON can carry it."""
        stack = self.device.batch_stack.status
        return {
            "serial": self.spec.serial,
            "observing": self.observing,
            "target": self.device.observation.view.target_name if self.observing else None,
            "stacking": self.stacking,
            "batch_stack": stack.to_json() if stack is not None else None,
            "clients": self.device.clients,
            "faults": sorted(self.faults.to_json()["on"]),
        }

    def _settle(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._adapt(), self._loop).result(_START_S)

    async def _adapt(self) -> None:
        """Be as the faults will have it: what has no power works on nothing."""
        if self.faults.on(SwitchedOff):
            await self._lose_power()
        await self._network.settle()

    def _reboot_soon(self, seconds: float) -> None:
        task = self._loop.create_task(self._reboot(seconds))
        self._reboots.add(task)
        task.add_done_callback(self._reboots.discard)

    async def _reboot(self, seconds: float) -> None:
        self.journal.note("telescope", "", "reboot", params={"seconds": seconds})
        await self._network.settle(rebooting=True)
        await self._lose_power()
        await asyncio.sleep(seconds)
        self.wall_clock.restart()
        await self._network.settle()
        self.journal.note("telescope", "", "up")

    async def _lose_power(self) -> None:
        await asyncio.to_thread(self.device.batch_stack.forget)
        self.device.cursor.entries = ()
        self.device.observation.forget()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        try:
            await self._open()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start
            self._started.set_exception(error)
        else:
            chatter = asyncio.create_task(self._tell_status())
            self._started.set_result(None)
            await self._stopping.wait()
            chatter.cancel()
        finally:
            await self._close()

    async def _open(self) -> None:
        await self._network.open()
        await asyncio.to_thread(self._smb.await_ready)

    async def _close(self) -> None:
        for task in tuple(self._reboots):
            task.cancel()
        await asyncio.gather(*self._reboots, return_exceptions=True)
        await self._network.close()
        await self._loop.shutdown_default_executor()

    async def _tell_status(self) -> None:
        while self.spec.event_interval_s:
            await asyncio.sleep(self.spec.event_interval_s)
            self.device.events.publish("PiStatus", self.device.power.to_json())
