"""A site: some telescopes with their nights, and a port to drive them all.

A site file is JSON or YAML::

    control_port: 0
    clock: {start: 2026-02-27T20:55:00-05:00, speed: 600}
    telescopes:
      - telescope: {serial: 1d3fe189, root: /tmp/garden, timezone: America/New_York}
        night:
          speed: 600
          width: 270
          height: 480
          targets:
            - {target: M 81, ra_deg: 148.9, dec_deg: 69.07, start: 2026-02-27T21:00:00-05:00,
               frames: 90, exposure_s: 20, filter: LP}
      - telescope: {serial: a3497936, root: /tmp/roof, faults: {lose_probe: {odds: 0.3}}}
        replay: {directory: /data/frames, speed: 60}
      - telescope: {serial: 5e3a7b21, root: /tmp/shed}
        observing: M 31
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import yaml
from pydantic import AwareDatetime, ConfigDict, PositiveFloat, TypeAdapter, ValidationError

from skyrelay_simulators.control import ControlServer, WrongRequestError, json_fields
from skyrelay_simulators.night import (
    Night,
    NightPlan,
    NightPlayer,
    ReplayPlan,
    find_real_frames,
    make_night,
    progress_json,
    replay_night,
)
from skyrelay_simulators.telescope import FastClock, SimulatedTelescope, SystemClock, TelescopeSpec
from skyrelay_simulators.telescope.conduct import misconduct
from skyrelay_simulators.telescope.emmc import write_whole
from skyrelay_simulators.telescope.faults import SWITCHES, WrongFaultError, read_fault, type_of_fault
from skyrelay_simulators.telescope.http_wire import Request

_HOUR = timedelta(hours=1)


class SiteFileError(ValueError):
    """The site file is wrong; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTelescope:
    """A telescope and, if it has one, its night: made up or played back; or what it observes all the time."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    telescope: TelescopeSpec
    night: NightPlan | None = None
    replay: ReplayPlan | None = None
    observing: str = ""

    def __post_init__(self) -> None:
        if self.night is not None and self.replay is not None:
            raise ValueError(f"telescope {self.telescope.serial}: give either night or replay")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSpec:
    """The telescopes' clock, `FastClock`: stacks and wall clocks go by it, pauses of the wire do not."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    start: AwareDatetime | None = None
    speed: PositiveFloat = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSpec:
    """All telescopes of a site, and where its control port listens."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    telescopes: tuple[SiteTelescope, ...]
    control_host: str = "127.0.0.1"
    control_port: int = 0
    clock: ClockSpec | None = None


def load_site(path: Path) -> SiteSpec:
    """Read a site file, JSON or YAML; raises `SiteFileError`, `OSError`."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(SiteSpec).validate_python(fields)
    except (yaml.YAMLError, ValidationError) as error:
        raise SiteFileError(f"{path}: {error}") from error


def replay_site(directory: Path, root: Path, *, speed: float | None = None, **traits: Any) -> SiteSpec:
    """Make a site that plays back the frames of a folder: one telescope for each serial in them.

    Parameters
    ----------
    directory
        Where the frames lie.
    root
        Each telescope's eMMC is ``root/<serial>``.
    speed
        Simulated seconds a real second; `None` is as fast as possible.
    traits
        Further fields of every `TelescopeSpec`.

    Raises
    ------
    FileNotFoundError
        If the folder holds no frames.
    """
    offsets = {frame.serial: frame.utc_offset for frame in reversed(find_real_frames(directory))}
    telescopes = (
        SiteTelescope(
            telescope=TelescopeSpec(
                serial=serial, root=root / serial, **{"timezone": fixed_zone(offset)} | traits
            ),
            replay=ReplayPlan(directory=directory, serial=serial, speed=speed),
        )
        for serial, offset in sorted(offsets.items())
    )
    return SiteSpec(telescopes=tuple(telescopes))


def fixed_zone(offset: timedelta) -> str:
    """Name an IANA zone of that offset: ``Etc/GMT+4`` is UTC−4. There is none for parts of an hour."""
    hours, rest = divmod(offset, _HOUR)
    if rest or not hours:
        return "UTC"
    return f"Etc/GMT{-hours:+d}"


@dataclass(frozen=True, slots=True)
class _Post:
    telescope: SimulatedTelescope
    player: NightPlayer | None


class Site:
    """A running site; use it as a context manager.

    Parameters
    ----------
    spec
        What stands there.
    """

    def __init__(self, spec: SiteSpec) -> None:
        self._spec = spec
        clock = spec.clock
        self._clock = FastClock(clock.start, clock.speed) if clock else SystemClock()
        self._stack = ExitStack()
        self._posts: tuple[_Post, ...] = ()
        self._lock = threading.Lock()
        self._night_began = False
        self._control = ControlServer(self.routes(), host=spec.control_host, port=spec.control_port)

    @property
    def telescopes(self) -> tuple[SimulatedTelescope, ...]:
        """The telescopes, in the order of the specification."""
        return tuple(post.telescope for post in self._posts)

    @property
    def control_address(self) -> str:
        """Base URL of the control port."""
        return self._control.address

    def __enter__(self) -> Self:
        with self._stack:
            for part in self._spec.telescopes:
                self._posts += (self._place(part),)
            self._stack.callback(self._control.stop)
            self._control.start()
            self._stack = self._stack.pop_all()  # all is well: keep it running until __exit__
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _place(self, part: SiteTelescope) -> _Post:
        telescope = self._stack.enter_context(SimulatedTelescope(part.telescope, clock=self._clock))
        if part.observing:
            telescope.observe(part.observing)
        night = _night_of(part, telescope)
        if night is None:
            return _Post(telescope, None)
        player = NightPlayer(night, telescope)
        self._stack.callback(player.stop)
        return _Post(telescope, player)

    def start_nights(self) -> bool:
        """Begin all nights; `False` if they had begun already."""
        with self._lock:
            began, self._night_began = self._night_began, True
        if not began:
            for post in self._posts:
                if post.player is not None:
                    post.player.start()
        return not began

    def stop_nights(self) -> None:
        """Break all nights off."""
        for post in self._posts:
            if post.player is not None:
                post.player.stop()

    def progress(self) -> dict[str, Any]:
        """Give how far the nights are, as JSON can carry it."""
        parts = [
            {"serial": post.telescope.spec.serial, **progress_json(post.player.progress)}
            for post in self._posts
            if post.player is not None
        ]
        return {
            "started": self._night_began,
            "done": all(part["done"] for part in parts),
            "written": sum(part["written"] for part in parts),
            "total": sum(part["total"] for part in parts),
            "telescopes": parts,
        }

    def endpoints(self) -> dict[str, Any]:
        """Give where everything answers, as JSON can carry it."""
        return {"control": self.control_address, "telescopes": [_describe(post) for post in self._posts]}

    def routes(self) -> dict[str, Callable[[Request], Any]]:
        """Give what the control port answers, by verb and path."""
        return {
            "GET /endpoints": lambda _request: self.endpoints(),
            "GET /state": self._state,
            "GET /journal": self._journal,
            "GET /conduct": self._conduct,
            "GET /switches": lambda _request: _describe_switches(),
            "GET /faults": lambda request: self._telescope(request.query.get("serial")).faults.to_json(),
            "POST /faults": self._switch,
            "POST /faults/clear": self._clear_faults,
            "POST /faults/seed": self._seed_faults,
            "POST /reboot": self._reboot,
            "POST /observe": self._observe,
            "POST /night/start": lambda _request: {"began": self.start_nights()},
            "POST /night/stop": lambda _request: self.stop_nights(),
            "GET /night": lambda _request: self.progress(),
        }

    def _state(self, request: Request) -> dict[str, Any]:
        wanted = request.query.get("serial")
        states = [post.telescope.state() for post in self._posts]
        return {"telescopes": [state for state in states if wanted in {None, state["serial"]}]}

    def _journal(self, request: Request) -> dict[str, Any]:
        since = request.query.get("since", "0")
        if not since.isdecimal():
            raise WrongRequestError("since is an entry's number")
        journal = self._telescope(request.query.get("serial")).journal
        entries = journal.entries(method=request.query.get("method"), since=int(since))
        return {"entries": [entry.to_json() for entry in entries]}

    def _observe(self, request: Request) -> dict[str, Any]:
        fields = json_fields(request)
        telescope = self._telescope(fields.get("serial"))
        if fields.get("observing", True):
            telescope.observe(str(fields.get("target", "Unknown")))
        else:
            telescope.finish_observing()
        return telescope.state()

    def _conduct(self, request: Request) -> dict[str, Any]:
        return {"broken": misconduct(self._telescope(request.query.get("serial")).journal.entries())}

    def _switch(self, request: Request) -> dict[str, Any]:
        fields = json_fields(request)
        telescope = self._telescope(fields.pop("serial", None))
        switch, wanted = str(fields.pop("switch", "")), fields.pop("on", True)
        try:
            if wanted:
                telescope.switch_on(read_fault(switch, fields))
            else:
                telescope.switch_off(type_of_fault(switch))
        except (WrongFaultError, OSError) as error:
            raise WrongRequestError(str(error)) from error
        return telescope.faults.to_json()

    def _clear_faults(self, request: Request) -> dict[str, Any]:
        telescope = self._telescope(json_fields(request).get("serial"))
        telescope.switch_off()
        return telescope.faults.to_json()

    def _seed_faults(self, request: Request) -> dict[str, Any]:
        fields = json_fields(request)
        telescope = self._telescope(fields.get("serial"))
        if not isinstance(seed := fields.get("seed"), int):
            raise WrongRequestError("seed is a whole number")
        telescope.faults.seed(seed)
        return telescope.faults.to_json()

    def _reboot(self, request: Request) -> dict[str, Any]:
        fields = json_fields(request)
        telescope = self._telescope(fields.get("serial"))
        if not isinstance(seconds := fields.get("seconds", 2), int | float) or seconds < 0:
            raise WrongRequestError("seconds is a number, 0 or more")
        telescope.reboot(seconds)
        return telescope.state()

    def _telescope(self, serial: str | None) -> SimulatedTelescope:
        matching = [telescope for telescope in self.telescopes if serial in {None, telescope.spec.serial}]
        if len(matching) != 1:
            serials = ", ".join(telescope.spec.serial for telescope in self.telescopes)
            raise WrongRequestError(f"name one telescope by serial: {serials}")
        return matching[0]


def _night_of(part: SiteTelescope, telescope: SimulatedTelescope) -> Night | None:
    if part.night is not None:
        return make_night(part.night, part.telescope, telescope.wall_clock.to_local)
    if part.replay is not None:
        return replay_night(part.replay, part.telescope.root)
    return None


def _describe_switches() -> dict[str, Any]:
    return {
        switch: {"does": inspect.cleandoc(kind.__doc__ or ""), "fields": sorted(kind.model_fields)}
        for switch, kind in sorted(SWITCHES.items())
    }


def _describe(post: _Post) -> dict[str, Any]:
    spec = post.telescope.spec
    return {
        "serial": spec.serial,
        "model": spec.model,
        "root": str(spec.root.resolve()),
        "timezone": spec.timezone,
        "share": spec.share,
        **asdict(post.telescope.endpoint),
    }


def run_site(
    spec: SiteSpec,
    *,
    stop: threading.Event,
    announce: Callable[[str], None],
    endpoints_file: Path | None = None,
    play: bool = False,
) -> None:
    """Run a site until ``stop`` is set.

    Parameters
    ----------
    spec
        What stands there.
    stop
        Ends it.
    announce
        Told one line of JSON, the endpoints, once everything answers.
    endpoints_file
        Where the same JSON is put, whole, and taken away at the end.
    play
        Whether the nights begin at once; else with ``POST /night/start``.
    """
    with Site(spec) as site, _left_at(endpoints_file, site.endpoints()):
        if play:
            site.start_nights()
        announce(json.dumps(site.endpoints()))
        stop.wait()


@contextmanager
def _left_at(path: Path | None, content: dict[str, Any]) -> Iterator[None]:
    if path is None:
        yield
        return
    write_whole(path, json.dumps(content, indent=2).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
