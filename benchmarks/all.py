"""All benchmarks, one after the other, and one table of their figures: docs/benchmarks.md and .json.

``./run bench`` runs this. A benchmark that fails is named in the table; the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import Row, cells

from skyrelay.version import __version__

_HERE = Path(__file__).parent
_NO_BENCHMARKS = {"all", "common", "slow_wire"}
# Whoever works at a machine meanwhile changes seconds by the clock, and ratios much less.
_NOTE = (
    "Each figure is the median of its repeats, with the least and the greatest behind it;"
    " ours and the reference in one run, on the machine and under the load named here."
)


def main() -> int:
    """Run them, write the table; exit code 1 when one of them failed."""
    options = read_options()
    names = options.only or all_names()
    load_before, began = os.getloadavg(), datetime.now(UTC)
    results = {name: run(name, options) for name in names}
    about = {
        "version": __version__, "date": began.isoformat(timespec="seconds"), "quick": options.quick,
        "machine": machine(), "load_before": load_before, "load_after": os.getloadavg(),
        "failed": {name: why for name, (_, why) in results.items() if why},
        "rows": [row for rows, _ in results.values() for row in rows],
    }  # fmt: skip
    options.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (options.folder / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    (options.folder / "benchmarks.md").write_text(as_markdown(json.loads(text)), encoding="utf-8")
    sys.stdout.write(f"{options.folder / 'benchmarks.md'}: {len(about['rows'])} figures\n")
    return 1 if about["failed"] else 0


def read_options() -> argparse.Namespace:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short forms: they show that all of it works")
    parser.add_argument("--repeats", type=int, help="how often each is measured")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=all_names())
    parser.add_argument("--folder", type=Path, default=_HERE.parent / "docs")
    parser.add_argument("--within", type=float, default=3600.0, metavar="SECONDS", help="for each of them")
    return parser.parse_args()


def all_names() -> list[str]:
    """Name all benchmarks."""
    return sorted(path.stem for path in _HERE.glob("*.py") if path.stem not in _NO_BENCHMARKS)


def run(name: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Run one in a process of its own; give its rows, and in a word why there are none."""
    sys.stdout.write(f"== {name}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(_HERE / f"{name}.py"), "--json", str(file), *_passed_on(options)]
        began = time.monotonic()
        try:
            code = subprocess.run(command, timeout=options.within, check=False).returncode
        except subprocess.TimeoutExpired:
            return [], f"not done within {options.within:.0f} s"
        sys.stdout.write(f"== {name}: {time.monotonic() - began:.0f} s\n")
        if code or not file.is_file():
            return [], f"exit code {code}"
        return json.loads(file.read_text("utf-8")), ""


def _passed_on(options: argparse.Namespace) -> list[str]:
    return [
        *(["--quick"] if options.quick else []),
        *(["--repeats", str(options.repeats)] if options.repeats else []),
    ]


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


def as_markdown(about: dict[str, Any]) -> str:
    """Write the page."""
    rows = [Row(**row) for row in about["rows"]]
    where = about["machine"]
    load = " → ".join(f"{about[key][0]:.1f}" for key in ("load_before", "load_after"))
    lines = [
        "# Benchmarks", "",
        "Written by `./run bench`; do not edit. The same in [JSON](benchmarks.json).", "",
        f"Skyrelay {about['version']}, {about['date']}; {_words(where)}; load average {load}.", "",
        *(["**Short forms (`--quick`): they prove that the benchmarks work, their figures say nothing.**", ""]
          if about["quick"] else []),
        _NOTE, "",
        summary(about), "",
        *_table(("benchmark", "what", "unit", "ours", "reference", "ratio", "goal", "reached"), rows),
        *(["", "Failed: " + ", ".join(f"{name} ({why})" for name, why in about["failed"].items()) + "."]
          if about["failed"] else []),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _words(where: dict[str, Any]) -> str:
    system = f"{where['system']}, Python {where['python']}"
    return f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, {system}"


def summary(about: dict[str, Any]) -> str:
    """Say in one line how many goals are reached; the README quotes it."""
    judged = [row["reached"] for row in about["rows"] if row["reached"] is not None]
    short = ", in short forms" if about["quick"] else ""
    return f"{sum(judged)} of {len(judged)} goals reached, {about['date'][:10]}{short}."


def _table(headings: Sequence[str], rows: Sequence[Row]) -> list[str]:
    lines = [cells(row) for row in rows]
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *lines)]


if __name__ == "__main__":
    sys.exit(main())
