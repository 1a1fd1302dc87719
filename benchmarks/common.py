"""What all benchmarks share: their options, and one row for each figure that has a goal.

A benchmark prints its table for people and hands its rows to `Report`; ``--json FILE`` writes them for
`benchmarks/all.py`, which makes the one table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """What a figure should be; ``of`` says which: ``ratio`` (ours to the reference) or ``ours``."""

    most: float | None = None
    least: float | None = None
    of: str = "ratio"

    def __str__(self) -> str:
        bound = f"≤ {self.most:g}" if self.least is None else f"≥ {self.least:g}"
        return bound if self.of == "ratio" else f"{bound} (ours)"

    def is_reached(self, figure: float) -> bool:
        """Tell whether a figure is good enough."""
        return (self.most is None or figure <= self.most) and (self.least is None or figure >= self.least)


@dataclass(frozen=True)
class Row:
    """One figure beside its reference, both measured in one run.

    Attributes
    ----------
    ours, reference
        Medians, in ``unit``; `None` for a reference where the goal is a bound of its own.
    ours_spread, reference_spread
        The least and the greatest of all repeats.
    ratio
        ``ours / reference``, or the other way round where the text of ``what`` says "times".
    """

    name: str
    what: str
    unit: str
    ours: float
    ours_spread: tuple[float, float]
    reference: float | None
    reference_spread: tuple[float, float] | None
    ratio: float | None
    goal: str
    reached: bool | None
    repeats: int


class Report:
    """Collects the rows of one benchmark, prints them, and writes them where ``--json`` says."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name, self._file = name, options.json
        self.rows: list[Row] = []

    def add(
        self,
        what: str,
        ours: float | Sequence[float],
        reference: float | Sequence[float] | None = None,
        *,
        unit: str = "s",
        goal: Goal | None = None,
        inverse: bool = False,
    ) -> None:
        """Take in a figure: one or more measurements of ours, and as many of the reference.

        Parameters
        ----------
        inverse
            The ratio is reference / ours: "times as fast".
        """
        mine, other = _as_list(ours), _as_list(reference)
        middle, beside = statistics.median(mine), statistics.median(other) if other else None
        ratio = _ratio(middle, beside, inverse=inverse)
        judged = middle if goal and goal.of == "ours" else ratio
        self.rows.append(
            Row(
                self._name, what, unit, middle, (min(mine), max(mine)), beside,
                (min(other), max(other)) if other else None, ratio, str(goal) if goal else "",
                goal.is_reached(judged) if goal and judged is not None else None, len(mine),
            )
        )  # fmt: skip

    def close(self) -> None:
        """Print the rows, and write them."""
        Console(width=150).print(_as_table(self.rows))
        if self._file:
            rows = [asdict(row) for row in self.rows]
            self._file.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def options_of(description: str | None, *more: tuple[str, Mapping[str, Any]]) -> argparse.Namespace:
    """Read the options that each benchmark has, and those of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--repeats", type=int, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="a short form: shows that it works, no figures")
    for name, settings in more:
        parser.add_argument(name, **settings)
    return parser.parse_args()


def repeats_of(options: argparse.Namespace, usual: int, quick: int = 1) -> int:
    """Give how often to measure: as asked, else as the benchmark is used to."""
    return options.repeats or (quick if options.quick else usual)


def _as_list(figures: float | Sequence[float] | None) -> list[float]:
    if figures is None:
        return []
    return [float(figures)] if isinstance(figures, int | float) else [float(each) for each in figures]


def _ratio(ours: float, reference: float | None, *, inverse: bool) -> float | None:
    above, below = (reference, ours) if inverse else (ours, reference)
    return above / below if above is not None and below else None


def _as_table(rows: list[Row]) -> Table:
    table = Table("what", "unit", "ours", "reference", "ratio", "goal", "reached", title="Figures")
    for row in rows:
        table.add_row(*cells(row)[1:])
    return table


def cells(row: Row) -> list[str]:
    """Write a row for people: medians, and their spread where there is one."""
    ratio = "–" if row.ratio is None else f"{row.ratio:.3g}"
    reached = "" if row.reached is None else "yes" if row.reached else "**no**"
    ours, beside = _figure(row.ours, row.ours_spread), _figure(row.reference, row.reference_spread)
    return [row.name, row.what, row.unit, ours, beside, ratio, row.goal, reached]


def _figure(middle: float | None, spread: tuple[float, float] | None) -> str:
    if middle is None or spread is None:
        return "–"
    low, high = spread
    return f"{middle:.4g}" if low == high else f"{middle:.4g} ({low:.4g}–{high:.4g})"
