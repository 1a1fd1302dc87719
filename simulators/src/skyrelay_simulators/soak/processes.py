"""What a service's processes hold, as Linux tells it below ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_GROUP = 2  # of the fields behind a process's name, in `stat`
_KB = 1024


@dataclass(frozen=True, slots=True)
class Holding:
    """What the processes of one service hold after a night.

    Attributes
    ----------
    pss_mb
        Memory of its main process, in MiB: its own and its share of what it shares.
    files, sockets, threads
        Of its main process.
    processes
        How many it has.
    """

    processes: int
    pss_mb: float
    files: int
    sockets: int
    threads: int


def holding_of(leader: int) -> Holding:
    """Look at a service's process, which leads a process group of its own."""
    folder = _PROC / str(leader)
    links = [*_links(folder / "fd")]
    return Holding(
        processes=sum(1 for _ in _members(leader)),
        pss_mb=_number(folder / "smaps_rollup", "Pss:") / _KB,
        files=len(links),
        sockets=sum(1 for link in links if link.startswith("socket:")),
        threads=int(_number(folder / "status", "Threads:")),
    )


def growth_percent(values: list[float]) -> float:
    """Give the slope of a straight line through values a night, in percent of their mean (least squares)."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((night - middle) ** 2 for night in range(len(values)))
    if not spread or not mean:
        return 0.0
    slope = sum((night - middle) * (value - mean) for night, value in enumerate(values)) / spread
    return 100.0 * slope / mean


def _members(leader: int) -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                behind_name = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                if int(behind_name[_GROUP]) == leader:
                    yield int(entry.name)


def _links(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):  # noqa: PTH208 - names are all that is wanted
        with suppress(OSError):  # it has been closed meanwhile
            yield str((folder / name).readlink())


def _number(file: Path, label: str) -> float:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(label):
            return float(line.split()[1])
    raise ValueError(f"{file} has no line {label}")
