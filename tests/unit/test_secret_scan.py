"""The scan for secrets: what is new makes it fail; what is known does not, wherever it moves in its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEY = "AKIA" + "Q3EGP4XWZ7RK2M5T"  # in two: this file is looked through, too


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a repository with one harmless file, and our ways to look with nothing known."""
    baseline = json.loads((ROOT / ".secrets.baseline").read_text("utf-8"))
    (tmp_path / ".secrets.baseline").write_text(json.dumps({**baseline, "results": {}}), "utf-8")
    (tmp_path / "harmless.py").write_text("print('clear skies')\n", "utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    """Run git there."""
    subprocess.run(["git", *words], cwd=folder, check=True)


def scan(folder: Path, *words: str) -> tuple[int, str]:
    """Give the exit code, and what is said."""
    command = [sys.executable, str(ROOT / ".ci" / "secrets"), *words, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def test_a_new_secret_fails_the_scan_and_is_named_without_being_shown(tree: Path) -> None:
    assert scan(tree) == (0, "1 files, no secret\n")
    (tree / "harmless.py").write_text(f"print('clear skies')\nkey = '{KEY}'\n", "utf-8")
    code, said = scan(tree)
    assert code == 1
    assert "harmless.py:2: AWS Access Key" in said
    assert KEY not in said


def test_what_git_does_not_track_is_not_looked_at(tree: Path) -> None:
    (tree / "untracked.py").write_text(f"key = '{KEY}'\n", "utf-8")
    assert scan(tree)[0] == 0


def test_what_is_known_may_move_and_a_second_one_beside_it_is_new(tree: Path) -> None:
    (tree / "harmless.py").write_text(f"key = '{KEY}'\n", "utf-8")
    assert scan(tree, "--write")[0] == 0
    (tree / "harmless.py").write_text(f"\n\n\nkey = '{KEY}'\n", "utf-8")
    assert scan(tree)[0] == 0
    (tree / "harmless.py").write_text(f"key = '{KEY}'\nother = '{KEY[:-1]}A'\n", "utf-8")
    assert scan(tree)[0] == 1


def test_what_is_known_and_gone_must_leave_the_baseline(tree: Path) -> None:
    (tree / "harmless.py").write_text(f"key = '{KEY}'\n", "utf-8")
    scan(tree, "--write")
    (tree / "harmless.py").write_text("key = None\n", "utf-8")
    code, said = scan(tree)
    assert code == 1
    assert "harmless.py: AWS Access Key is in .secrets.baseline, and there no more" in said
