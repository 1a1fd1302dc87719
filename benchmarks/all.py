"""All benchmarks, one after the other, and one table of their figures: docs/benchmarks.md and .json.

``./run bench`` runs this, and lets the README quote the page. A benchmark that fails is named in the table;
the others go on. The page is written after each of them: who ends the whole loses none. With ``--only``,
those of the others are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from common import Row, cells

from skyrelay.version import __version__

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_NO_BENCHMARKS = {"all", "common", "slow_wire"}
_QUOTED = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=\n<!-- /benchmarks -->)", re.DOTALL)
# Whoever works at a machine meanwhile changes seconds by the clock, and ratios much less.
_NOTE = (
    "Each figure is the median of its repeats, with the least and the greatest behind it;"
    " ours and the reference in one run, on the machine named here and under the load named below."
)


class Run(TypedDict):
    """One benchmark's own run: when, for how long, under which load (of a minute), and what came of it."""

    date: str
    took_s: float
    load: tuple[float, float]
    failed: str
    rows: list[dict[str, Any]]


class About(TypedDict):
    """What the page says."""

    version: str
    quick: bool
    machine: dict[str, Any]
    runs: dict[str, Run]


def main() -> int:
    """Run them, write the table; exit code 1 when one of them failed."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # with what it has started
    about = About(version=__version__, quick=options.quick, machine=machine(), runs=kept(options))
    for name in options.only or all_names():
        about["runs"][name] = run(name, options)
        write(about, options.folder)
    failed = [name for name in options.only or all_names() if about["runs"][name]["failed"]]
    sys.stdout.write(f"{options.folder / 'benchmarks.md'}: {summary(about)}\n")
    return 1 if failed else 0


def read_options() -> argparse.Namespace:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short forms: they show that all of it works")
    parser.add_argument("--repeats", type=int, help="how often each is measured")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=all_names())
    parser.add_argument("--folder", type=Path, default=_ROOT / "docs")
    parser.add_argument("--within", type=float, default=600.0, metavar="SECONDS", help="for each of them")
    return parser.parse_args()


def all_names() -> list[str]:
    """Name all benchmarks."""
    return sorted(path.stem for path in _HERE.glob("*.py") if path.stem not in _NO_BENCHMARKS)


def kept(options: argparse.Namespace) -> dict[str, Run]:
    """Give the runs that are on the page and stay there: where only some are asked for, in the same form."""
    file = options.folder / "benchmarks.json"
    if not options.only or not file.is_file():
        return {}
    before: About = json.loads(file.read_text("utf-8"))
    return before["runs"] if before["quick"] == options.quick else {}


def run(name: str, options: argparse.Namespace) -> Run:
    """Run one in a process of its own; give its rows, and in a word why there are none."""
    sys.stdout.write(f"== {name}\n")
    sys.stdout.flush()
    date, load, began = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(_HERE / f"{name}.py"), "--json", str(file), *_passed_on(options)]
        failed = _failure_of(command, options.within)
        rows = json.loads(file.read_text("utf-8")) if file.is_file() and not failed else []
    took_s = round(time.monotonic() - began, 1)
    sys.stdout.write(f"== {name}: {took_s:.0f} s{failed and ', ' + failed}\n")
    loads = tuple(round(each, 1) for each in (load, os.getloadavg()[0]))
    why = failed or ("" if rows else "no figures")
    return Run(date=date, took_s=took_s, load=(loads[0], loads[1]), failed=why, rows=rows)


def _failure_of(command: list[str], within_s: float) -> str:
    """Run a command, end what it leaves running, and say what went wrong, if anything did."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait(within_s)
        except subprocess.TimeoutExpired:
            return f"not done within {within_s:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return f"exit code {code}" if code else ""


def _passed_on(options: argparse.Namespace) -> list[str]:
    return [
        *(["--quick"] if options.quick else []),
        *(["--repeats", str(options.repeats)] if options.repeats else []),
    ]


def write(about: About, folder: Path, readme: Path = _ROOT / "README.md") -> None:
    """Write the page and its JSON; let the README quote it where it is the one in docs/."""
    folder.mkdir(parents=True, exist_ok=True)
    about["runs"] = dict(sorted(about["runs"].items()))
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (folder / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(as_markdown(about), encoding="utf-8")
    if folder.resolve() == readme.resolve().parent / "docs":
        readme.write_text(quoting(readme.read_text("utf-8"), quote(about)), encoding="utf-8")


def quoting(page: str, words: str) -> str:
    """Put words between the page's markers, in place of what is there."""
    found, times = _QUOTED.subn(lambda _: words, page)
    if times != 1:
        raise SystemExit("README.md: <!-- benchmarks --> and <!-- /benchmarks --> must be there once")
    return found


def machine() -> dict[str, Any]:
    """Say what it was measured on."""
    return {
        "processor": _processor(), "cores": os.cpu_count(), "memory_gb": round(_memory_bytes() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
    }  # fmt: skip


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def as_markdown(about: About) -> str:
    """Write the page."""
    rows = [Row(**row) for run in about["runs"].values() for row in run["rows"]]
    headings = ("benchmark", "what", "unit", "ours", "reference", "ratio", "goal", "reached")
    runs = [(name, *_words_of(run)) for name, run in about["runs"].items()]
    lines = [
        "# Benchmarks", "",
        "Written by `./run bench`; do not edit. The same in [JSON](benchmarks.json).", "",
        f"Skyrelay {about['version']}; {_words(about['machine'])}.", "",
        *(["**Short forms (`--quick`): they prove that the benchmarks work, their figures say nothing.**", ""]
          if about["quick"] else []),
        _NOTE, "",
        summary(about), "",
        *_table(headings, [cells(row) for row in rows]), "",
        *_table(("benchmark", "began", "took", "load average", "failed"), runs),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _words_of(run: Run) -> tuple[str, ...]:
    return (
        run["date"],
        f"{run['took_s']:.0f} s",
        " → ".join(f"{each:.1f}" for each in run["load"]),
        run["failed"],
    )


def _words(where: dict[str, Any]) -> str:
    system = f"{where['system']}, Python {where['python']}"
    return f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, {system}"


def summary(about: About) -> str:
    """Say in one line how many goals are reached; the README quotes it."""
    runs = about["runs"].values()
    judged = [row["reached"] for run in runs for row in run["rows"] if row["reached"] is not None]
    failed = [name for name, run in about["runs"].items() if run["failed"]]
    short = ", in short forms" if about["quick"] else ""
    without = f"; no figures of {', '.join(failed)}" if failed else ""
    day = max(run["date"] for run in runs)[:10]
    return f"{sum(judged)} of {len(judged)} goals reached, {day}{short}{without}."


def quote(about: About) -> str:
    """Say the same for the README."""
    return f"{summary(about)} [All figures](docs/benchmarks.md)."


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *lines)]


if __name__ == "__main__":
    sys.exit(main())
