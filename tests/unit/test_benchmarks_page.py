"""What the README and the page of benchmarks say is what docs/benchmarks.json holds, once it is there."""

from __future__ import annotations

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


def test_the_readme_quotes_the_figures_that_are_there(page: Any) -> None:
    if FIGURES.is_file():
        assert quoted() == page.summary(json.loads(FIGURES.read_text("utf-8")))
    else:
        assert quoted() == "The full run is still to be made."


def test_a_missed_goal_and_a_failed_benchmark_are_said(page: Any) -> None:
    row = {
        "name": "upload", "what": "throughput", "unit": "MB/s", "ours": 80.0,
        "ours_spread": [70.0, 90.0],
        "reference": 100.0, "reference_spread": [100.0, 100.0],
        "ratio": 0.8, "goal": "≥ 0.9", "reached": False,
        "repeats": 3,
    }  # fmt: skip
    about = {
        "version": "1", "date": "2026-01-01T00:00:00+00:00", "quick": False,
        "load_before": [1.0], "load_after": [2.0],
        "machine": {"processor": "P", "cores": 2, "memory_gb": 4, "system": "Linux", "python": "3.13"},
        "failed": {"idle": "exit code 1"}, "rows": [row],
    }  # fmt: skip
    text = page.as_markdown(about)
    assert "| upload | throughput | MB/s | 80 (70–90) | 100 | 0.8 | ≥ 0.9 | **no** |" in text
    assert "0 of 1 goals reached, 2026-01-01." in text
    assert "Failed: idle (exit code 1)." in text
