"""Nights: sub-frames that appear on a telescope as they do in life, made up or played back.

A night is a sequence of shots. Each is written under a temporary name and renamed, with its two
pictures beside it, into ``MyWorks/<target>_sub``; meanwhile the telescope says that it observes.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import ConfigDict

from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.star_field import FieldSize, StarField, preview_jpegs
from skyrelay_simulators.telescope.emmc import MY_WORKS, THUMB_SUFFIX, write_whole
from skyrelay_simulators.telescope.spec import TelescopeSpec

if TYPE_CHECKING:
    from astropy.io.fits import Header

_SAVE_LAG_S = (3.1, 3.6)  # seconds from the exposure's end until the file is named (55 real frames)
_READOUT_S = 1.3  # seconds between two exposures (32 real frames: 11.3 s apart at 10 s)
_REST_S = 600.0  # seconds of simulated time without a frame after which nobody would call it observing
_SUB_SUFFIX = "_sub"
_FRAME_NAME = re.compile(
    r"Light_(?P<target>.+)_[0-9.]+s_(?:[^_]+_)?(?P<saved>[0-9]{8}-[0-9]{6})\.fits?", re.IGNORECASE
)
_STOP_S = 5.0


class Observer(Protocol):
    """Who is told what is being observed: a `SimulatedTelescope`."""

    def observe(self, target: str, *, ra_deg: float, dec_deg: float) -> None:
        """Begin to observe."""

    def finish_observing(self) -> None:
        """Stop observing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """One target of a made-up night.

    Attributes
    ----------
    start
        Start of the first exposure, aware.
    frames, duration
        How many frames, or for how long: one of the two.
    cadence_s
        Seconds from one exposure's start to the next one's; `None`: exposure and readout.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    target: str
    ra_deg: float
    dec_deg: float
    start: datetime
    frames: int | None = None
    duration: timedelta | None = None
    exposure_s: float = 10.0
    filter: str = "IRCUT"
    cadence_s: float | None = None
    gain: int = 80

    def __post_init__(self) -> None:
        if (self.frames is None) == (self.duration is None):
            raise ValueError(f"{self.target}: give either frames or duration")
        if self.start.tzinfo is None:
            raise ValueError(f"{self.target}: start needs its UTC offset")

    @property
    def step_s(self) -> float:
        """Seconds from one exposure's start to the next one's."""
        return self.cadence_s if self.cadence_s is not None else self.exposure_s + _READOUT_S

    @property
    def frame_count(self) -> int:
        """How many frames there will be."""
        if self.frames is not None:
            return self.frames
        assert self.duration is not None  # noqa: S101 - one of the two is there, see above
        return int(self.duration.total_seconds() // self.step_s)

    def starts(self) -> Iterator[datetime]:
        """Give the start of every exposure."""
        return (self.start + timedelta(seconds=index * self.step_s) for index in range(self.frame_count))


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPlan:
    """A made-up night: targets one after the other.

    Attributes
    ----------
    speed
        Simulated seconds a real second; `None` is as fast as this machine can.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    targets: tuple[TargetPlan, ...]
    width: int = 1080
    height: int = 1920
    speed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """A night played back from existing frames, in the order of their times.

    Attributes
    ----------
    directory
        Where the ``Light_*.fit`` lie, in it or below.
    serial
        Only the frames of this telescope; empty: all of them.
    speed
        As in `NightPlan`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    directory: Path
    serial: str = ""
    speed: float | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame to appear: when (simulated seconds from the night's begin), and how."""

    saved_s: float
    target: str
    ra_deg: float
    dec_deg: float
    save: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Night:
    """What a `NightPlayer` plays."""

    shots: Iterator[Shot]
    total: int
    speed: float | None


@dataclass(frozen=True, slots=True)
class NightProgress:
    """How far a night is; ``error`` is empty unless it broke off."""

    written: int
    total: int
    done: bool = False
    target: str = ""
    error: str = ""


# --- made-up nights ---


def make_night(plan: NightPlan, spec: TelescopeSpec, to_local: Callable[[datetime], datetime]) -> Night:
    """Prepare a made-up night.

    Parameters
    ----------
    plan
        What is observed.
    spec
        The telescope: its name, site, firmware and folder go into the frames.
    to_local
        Its wall clock: turns an aware moment into the naive local time of the file names.
    """
    total = sum(target.frame_count for target in plan.targets)
    return Night(_made_up_shots(plan, spec, to_local), total, plan.speed)


def _made_up_shots(
    plan: NightPlan, spec: TelescopeSpec, to_local: Callable[[datetime], datetime]
) -> Iterator[Shot]:
    night_start = min((target.start for target in plan.targets), default=None)
    for target in plan.targets:
        maker = _FrameMaker(target, spec, to_local, FieldSize(plan.width, plan.height))
        for started in target.starts():
            saved = started + timedelta(seconds=target.exposure_s + maker.save_lag_s())
            assert night_start is not None  # noqa: S101 - there is a target, so there is a first one
            saved_s = (saved - night_start).total_seconds()
            save = _Saving(maker, started, saved)
            yield Shot(saved_s, target.target, target.ra_deg, target.dec_deg, save)


class _FrameMaker:
    def __init__(
        self,
        plan: TargetPlan,
        spec: TelescopeSpec,
        to_local: Callable[[datetime], datetime],
        size: FieldSize,
    ) -> None:
        self._plan = plan
        self._spec = spec
        self._to_local = to_local
        self._field = StarField(plan.target, size, plan.exposure_s)
        self._pictures = preview_jpegs(self._field.expose())
        self._random = random.Random(plan.target)

    def save_lag_s(self) -> float:
        return self._random.uniform(*_SAVE_LAG_S)

    def save(self, started: datetime, saved: datetime) -> None:
        plan = self._plan
        facts = LightFrameFacts(
            spec=self._spec,
            target=plan.target,
            started=started,
            exposure_s=plan.exposure_s,
            filter=plan.filter,
            ra_deg=plan.ra_deg,
            dec_deg=plan.dec_deg,
            gain=plan.gain,
            temperature_c=round(self._random.uniform(24.0, 26.0) * 16) / 16,  # the sensor's steps
        )
        # The firmware cuts the fraction of the second off.
        stamp = f"{self._to_local(saved):%Y%m%d-%H%M%S}"
        name = f"Light_{plan.target}_{plan.exposure_s:.1f}s_{plan.filter}_{stamp}.fit"
        _save_frame(
            self._spec.root, plan.target, name, frame_bytes(facts, self._field.expose()), self._pictures
        )


@dataclass(frozen=True, slots=True)
class _Saving:
    maker: _FrameMaker
    started: datetime
    saved: datetime

    def __call__(self) -> None:
        self.maker.save(self.started, self.saved)


def _save_frame(root: Path, target: str, name: str, content: bytes, pictures: tuple[bytes, bytes]) -> None:
    folder = root / MY_WORKS / f"{target}{_SUB_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    folder.with_name(target).mkdir(exist_ok=True)  # the firmware makes both when it begins
    stem = name.rpartition(".")[0]
    write_whole(folder / name, content)
    write_whole(folder / f"{stem}.jpg", pictures[0])
    write_whole(folder / f"{stem}{THUMB_SUFFIX}", pictures[1])


# --- nights played back ---


@dataclass(frozen=True, slots=True)
class RealFrame:
    """An existing frame: what its name and header say."""

    path: Path
    target: str
    saved_local: datetime
    started: datetime
    exposure_s: float
    serial: str
    ra_deg: float
    dec_deg: float

    @property
    def utc_offset(self) -> timedelta:
        """Local minus UTC of its telescope, to the quarter hour."""
        lag = timedelta(seconds=self.exposure_s + sum(_SAVE_LAG_S) / 2)
        difference = self.saved_local - (self.started + lag).replace(tzinfo=None)
        quarter = timedelta(minutes=15)
        return round(difference / quarter) * quarter


def find_real_frames(directory: Path) -> list[RealFrame]:
    """Read all ``Light_*.fit`` in and below a folder, in the order of their times.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    frames = [frame for path in sorted(directory.rglob("Light_*")) if (frame := _read_real_frame(path))]
    if not frames:
        raise FileNotFoundError(f"{directory} holds no Light_*.fit frames")
    return sorted(frames, key=lambda frame: (frame.started, frame.path.name))


def _read_real_frame(path: Path) -> RealFrame | None:
    from astropy.io import fits  # heavy: only a replay needs it

    match = _FRAME_NAME.fullmatch(path.name)
    if match is None:
        return None
    header: Header = fits.getheader(path)
    return RealFrame(
        path=path,
        target=match["target"],
        saved_local=datetime.strptime(match["saved"], "%Y%m%d-%H%M%S"),  # noqa: DTZ007 - local by definition
        started=datetime.fromisoformat(f"{header['DATE-OBS']}+00:00"),
        exposure_s=float(header["EXPTIME"]),
        serial=str(header["TELESCOP"]).rpartition("_")[2],
        ra_deg=float(header["RA"]),
        dec_deg=float(header["DEC"]),
    )


def replay_night(plan: ReplayPlan, root: Path) -> Night:
    """Prepare a night from existing frames, to appear below ``root``; raises `FileNotFoundError`."""
    frames = [frame for frame in find_real_frames(plan.directory) if plan.serial in {"", frame.serial}]
    return Night(_replayed_shots(frames, root), len(frames), plan.speed)


def _replayed_shots(frames: list[RealFrame], root: Path) -> Iterator[Shot]:
    pictures: dict[str, tuple[bytes, bytes]] = {}
    for frame in frames:
        if frame.target not in pictures:
            pictures[frame.target] = _preview(frame.path)
        since_first = frame.started - frames[0].started
        yield Shot(
            since_first.total_seconds(),
            frame.target,
            frame.ra_deg,
            frame.dec_deg,
            _Copying(frame, root, pictures[frame.target]),
        )


@dataclass(frozen=True, slots=True)
class _Copying:
    frame: RealFrame
    root: Path
    pictures: tuple[bytes, bytes]

    def __call__(self) -> None:
        path = self.frame.path
        _save_frame(self.root, self.frame.target, path.name, path.read_bytes(), self.pictures)


def _preview(path: Path) -> tuple[bytes, bytes]:
    from astropy.io import fits  # heavy: only a replay needs it

    return preview_jpegs(fits.getdata(path))


# --- playing ---


class NightPlayer:
    """Plays a night in a thread of its own.

    Parameters
    ----------
    night
        What to play.
    observer
        Told what is being observed, if there is one.
    """

    def __init__(self, night: Night, observer: Observer | None = None) -> None:
        self._night = night
        self._observer = observer
        self._progress = NightProgress(0, night.total)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="night", daemon=True)

    @property
    def progress(self) -> NightProgress:
        """How far the night is."""
        return self._progress

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self) -> None:
        """Break off, if it still plays."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def wait(self, within_s: float) -> bool:
        """Wait for the end; whether it came in time."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def play(self) -> NightProgress:
        """Play the whole night in this thread."""
        self._run()
        return self._progress

    def _run(self) -> None:
        try:
            self._play_shots()
        except (OSError, ValueError) as error:  # a full disk, an unreadable frame: say so and end the night
            self._progress = replace(self._progress, error=f"{type(error).__name__}: {error}")
        finally:
            self._rest()
            self._progress = replace(self._progress, done=True, target="")

    def _play_shots(self) -> None:
        began_s, last_s = time.monotonic(), 0.0
        for shot in self._night.shots:
            if shot.saved_s - last_s > _REST_S:
                self._rest()
            if self._wait_until(began_s, shot.saved_s):
                return
            self._point_at(shot)
            shot.save()
            last_s = shot.saved_s
            self._progress = replace(self._progress, written=self._progress.written + 1)

    def _wait_until(self, began_s: float, saved_s: float) -> bool:
        """Wait for a moment of the night; whether it was broken off meanwhile."""
        if self._night.speed is None:
            return self._stopping.is_set()
        return self._stopping.wait(max(0.0, began_s + saved_s / self._night.speed - time.monotonic()))

    def _point_at(self, shot: Shot) -> None:
        if shot.target == self._progress.target:
            return
        self._progress = replace(self._progress, target=shot.target)
        if self._observer is not None:
            self._observer.observe(shot.target, ra_deg=shot.ra_deg, dec_deg=shot.dec_deg)

    def _rest(self) -> None:
        if self._progress.target and self._observer is not None:
            self._observer.finish_observing()
        self._progress = replace(self._progress, target="")


def progress_json(progress: NightProgress) -> dict[str, Any]:
    """Give the progress as JSON can carry it."""
    return {
        "written": progress.written,
        "total": progress.total,
        "done": progress.done,
        "target": progress.target or None,
        "error": progress.error or None,
    }
