"""The machine that the services run on, as far as it can fail: its disk, its clock, its list of hosts.

The disk is a small file system in memory, mounted where ``data_dir`` lies; names are those of a copy of
``/etc/hosts`` that only the services see (a mount namespace each); the clock is one that a small preloaded
library (``clock.c``) bends. The first two need root, the third a C compiler: what cannot be had is said, and
left out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from skyrelay_simulators.chaos.mishaps import Kind

CROWDSKY_NAME = "crowdsky.chaos.invalid"  # RFC 6761: no server answers for it
_HOSTS = Path("/etc/hosts")
_DISK_MB = 192  # the uploader leaves 100 MB free: more than that, and little enough to be filled at once
_CHUNK = bytes(1 << 20)
_CLOCK_SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True, slots=True)
class Machine:
    """A context: what was mounted is gone afterwards.

    Parameters
    ----------
    folder
        Of the rehearsal; ``data`` below it is the services' ``data_dir``.
    wished
        The kinds of mishaps that are wanted.
    """

    folder: Path
    wished: frozenset[Kind]
    _clock: list[Path] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        if Kind.CLOCK in self.wished:
            self._build_clock()
            self.set_clock(0)
        if self.has(Kind.DNS):
            self.lose_names(lost=False)
        if self.has(Kind.DISK):
            size = ["-o", f"size={_DISK_MB}m,mode=0700"]
            subprocess.run(["mount", "-t", "tmpfs", *size, "skyrelay-chaos", str(self.data)], check=True)  # noqa: S603, S607
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.has(Kind.DISK):
            # What the services left is looked at after the end, so it moves to where it would have been.
            kept = self.folder / "data-of-the-small-disk"
            with suppress(OSError, shutil.Error):
                shutil.copytree(self.data, kept, ignore=shutil.ignore_patterns("ballast"))
            subprocess.run(["umount", "--lazy", str(self.data)], check=True)  # noqa: S603, S607

    @property
    def data(self) -> Path:
        """The services' ``data_dir``."""
        return self.folder / "data"

    @property
    def kinds(self) -> frozenset[Kind]:
        """The wished kinds of mishaps that this machine can play."""
        return frozenset(kind for kind in self.wished if self.has(kind))

    def left_out(self) -> Iterator[str]:
        """Say what cannot be played here, and why."""
        for kind in sorted(self.wished - self.kinds):
            why = "needs a C compiler (cc)" if kind is Kind.CLOCK else "needs root, to mount"
            yield f"{kind}: {why}"

    def has(self, kind: Kind) -> bool:
        """Tell whether a kind of mishap is wished and can be had."""
        if kind is Kind.CLOCK:
            return kind in self.wished and bool(self._clock)
        needs_root = kind in {Kind.DISK, Kind.DNS}
        return kind in self.wished and not (needs_root and os.geteuid() != 0)

    # -- what the services are started with --------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Give what a service's environment needs for the clock, and to ask no proxy for CrowdSky."""
        direct = {"NO_PROXY": CROWDSKY_NAME, "no_proxy": CROWDSKY_NAME} if self.has(Kind.DNS) else {}
        if not self._clock:
            return direct
        return {
            **direct,
            "LD_PRELOAD": str(self._clock[0]),
            "CHAOS_CLOCK_FILE": str(self.folder / "clock"),
        }

    def command(self, command: Collection[str]) -> list[str]:
        """Give a service's command so that it sees our list of hosts; its process id stays its own."""
        if not self.has(Kind.DNS):
            return [*command]
        hosts = shlex.quote(str(self.folder / "hosts"))
        inside = f"mount --bind {hosts} {_HOSTS} && exec {shlex.join(command)}"
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside]

    # -- what goes wrong ---------------------------------------------------------------------------

    def fill_disk(self, seconds: float) -> None:
        """Leave not a byte on the services' disk, for a while."""
        ballast = self.data / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(_CHUNK):
                pass
        time.sleep(seconds)
        ballast.unlink()

    def lock_database(self, seconds: float) -> None:
        """Keep every other writer out of the database, as a careless tool does."""
        with closing(sqlite3.connect(self.data / "skyrelay.db", timeout=60, isolation_level=None)) as rude:
            rude.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            rude.execute("ROLLBACK")

    def lose_names(self, *, lost: bool) -> None:
        """Let CrowdSky's name be known or not; the file is the one that is mounted, so it is written over."""
        known = _HOSTS.read_text(encoding="utf-8")
        ours = "" if lost else f"127.0.0.1 {CROWDSKY_NAME}\n"
        (self.folder / "hosts").write_text(f"{known}\n{ours}", encoding="utf-8")

    def release_held_frames(self) -> int:
        """Do what a person does who knows that it was the server's clock; give how many frames."""
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
        release = (
            "UPDATE frames SET released_at = ?, needs_release = 0 "
            "WHERE state = 'clock wrong' AND released_at IS NULL"
        )
        with closing(sqlite3.connect(self.data / "skyrelay.db", timeout=60)) as books, books:
            return books.execute(release, [now]).rowcount

    def _build_clock(self) -> None:
        compiler, library = shutil.which("cc"), self.folder / "clock.so"
        if compiler:
            options = ["-shared", "-fPIC", "-O2", "-o", str(library), str(_CLOCK_SOURCE), "-ldl"]
            subprocess.run([compiler, *options], check=True)  # noqa: S603
            self._clock.append(library)

    def set_clock(self, offset_s: int) -> None:
        """Have the services' wall clock differ from this machine's."""
        (self.folder / "clock").write_text(f"{offset_s:+d}", encoding="utf-8")
