"""What the README and the page of benchmarks say is what docs/benchmarks.json holds, once it is there."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "benchmarks.json"
README = ROOT / "README.md"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the module that writes the page."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "common", raising=False)
    monkeypatch.delitem(sys.modules, "all", raising=False)
    import all as written  # type: ignore[import-not-found] # a program, found by the path above

    return written


def quoted() -> str:
    """Give what the README says between its markers."""
    found = re.search(
        r"<!-- benchmarks -->\n(.*?)\n<!-- /benchmarks -->", (ROOT / "README.md").read_text("utf-8")
    )
    assert found is not None
    return found[1]


def a_run(**more: Any) -> dict[str, Any]:
    """Give a benchmark's run."""
    return {
        "date": "2026-01-01T00:00:00+00:00",
        "took_s": 61.0,
        "load": [1.0, 2.0],
        "failed": "",
        "rows": [],
        **more,
    }


def about(**runs: dict[str, Any]) -> dict[str, Any]:
    """Give what a page tells of some runs."""
    row = {
        "name": "upload", "what": "throughput", "unit": "MB/s", "ours": 80.0,
        "ours_spread": [70.0, 90.0],
        "reference": 100.0, "reference_spread": [100.0, 100.0],
        "ratio": 0.8, "goal": "≥ 0.9", "reached": False,
        "repeats": 3,
    }  # fmt: skip
    machine = {"processor": "P", "cores": 2, "memory_gb": 4, "system": "Linux", "python": "3.13"}
    return {
        "version": "1", "quick": False, "machine": machine, "runs": {"upload": a_run(rows=[row]), **runs},
    }  # fmt: skip


def options(folder: Path, **more: Any) -> argparse.Namespace:
    """Give what the program was asked for."""
    return argparse.Namespace(
        **{"folder": folder, "quick": False, "repeats": None, "only": None, "within": 60.0, **more}
    )


def test_the_readme_quotes_the_figures_that_are_there(page: Any) -> None:
    if FIGURES.is_file():
        assert quoted() == page.quote(json.loads(FIGURES.read_text("utf-8")))
    else:
        assert quoted() == "The full run is still to be made."


def test_a_missed_goal_and_a_failed_benchmark_are_said(page: Any) -> None:
    text = page.as_markdown(about(idle=a_run(failed="exit code 1")))
    assert "| upload | throughput | MB/s | 80 (70–90) | 100 | 0.8 | ≥ 0.9 | **no** |" in text
    assert "0 of 1 goals reached, 2026-01-01; no figures of idle." in text
    assert "| upload | 2026-01-01T00:00:00+00:00 | 61 s | 1.0 → 2.0 |  |" in text
    assert "| idle | 2026-01-01T00:00:00+00:00 | 61 s | 1.0 → 2.0 | exit code 1 |" in text


def test_the_readme_beside_docs_gets_the_line_and_nothing_else_of_it_changes(
    page: Any, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Figures\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nThe end.\n", "utf-8")
    page.write(about(), tmp_path / "docs", readme)
    assert readme.read_text("utf-8") == (
        "# Figures\n<!-- benchmarks -->\n"
        "0 of 1 goals reached, 2026-01-01. [All figures](docs/benchmarks.md).\n"
        "<!-- /benchmarks -->\nThe end.\n"
    )
    assert json.loads((tmp_path / "docs" / "benchmarks.json").read_text("utf-8")) == about()


def test_a_page_that_is_written_elsewhere_leaves_the_readme_alone(page: Any, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing to quote in", "utf-8")
    page.write(about(), tmp_path / "elsewhere", readme)
    assert readme.read_text("utf-8") == "nothing to quote in"
    assert (tmp_path / "elsewhere" / "benchmarks.md").is_file()


def test_a_few_benchmarks_leave_the_figures_of_the_others_where_the_form_is_the_same(
    page: Any, tmp_path: Path
) -> None:
    page.write(about(), tmp_path, tmp_path / "README.md")
    assert list(page.kept(options(tmp_path, only=["idle"]))) == ["upload"]
    assert page.kept(options(tmp_path, only=["idle"], quick=True)) == {}
    assert page.kept(options(tmp_path)) == {}


@pytest.mark.parametrize(
    ("program", "within_s", "why"),
    [
        ("raise SystemExit(3)", 60.0, "exit code 3"),
        ("pass", 60.0, "no figures"),
        ("import time; time.sleep(600)", 1.0, "not done within 1 s"),
    ],
)
def test_a_benchmark_that_fails_is_named_and_the_next_one_gives_its_figures(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, within_s: float, why: str
) -> None:
    (tmp_path / "first.py").write_text(program, "utf-8")
    (tmp_path / "second.py").write_text(
        "import pathlib, sys; pathlib.Path(sys.argv[2]).write_text('[{\"reached\": true}]')", "utf-8"
    )
    monkeypatch.setattr(page, "_HERE", tmp_path)
    assert page.run("first", options(tmp_path, within=within_s))["failed"] == why
    second = page.run("second", options(tmp_path))
    assert (second["failed"], second["rows"]) == ("", [{"reached": True}])
