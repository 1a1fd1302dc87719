"""The audit: a known weakness is red, and what no service could tell of is never green."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "vulnerabilities"
FINE = {"name": "celery", "version": "5.6.0", "vulns": []}
WEAK = {
    "name": "requests",
    "version": "2.19.0",
    "vulns": [{"id": "CVE-2018-18074", "fix_versions": ["2.20.0"]}],
}
SKIPPED = {"name": "redis", "skip_reason": "not found"}


def audited(folder: Path, answers: dict[str, list[dict[str, Any]] | None]) -> tuple[int, str]:
    """Audit with a tool that gives each service's answer (or dies); give the exit code, and what is said."""
    tool = folder / "tool"
    tool.write_text(
        f"""#!{sys.executable}
import json, sys
service = next(word.partition("=")[2] for word in sys.argv if word.startswith("--vulnerability-service="))
answer = json.loads({json.dumps(json.dumps(answers))})[service]
if answer is None:
    sys.exit("the name cannot be resolved")
with open(sys.argv[sys.argv.index("--output") + 1], "w") as file:
    json.dump({{"dependencies": answer}}, file)
""",
        "utf-8",
    )
    tool.chmod(0o755)
    command = [sys.executable, str(PROGRAM), str(tool), "some.lock"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("first", "second", "code", "said"),
    [
        ([FINE], None, 0, "some.lock: none\n"),
        ([FINE, WEAK], None, 1, "some.lock: requests 2.19.0: CVE-2018-18074; mended in: 2.20.0\n"),
        (None, None, 3, "some.lock: NOT PROVEN, the advisories cannot be had: the name cannot be resolved\n"),
        ([FINE, SKIPPED], [FINE, SKIPPED], 3, "some.lock: NOT PROVEN for 1 packages (redis)\n"),
        ([], [], 3, "some.lock: NOT PROVEN, the advisories cannot be had: the report names no package\n"),
        (None, [FINE], 0, "some.lock: none\n"),
        ([SKIPPED], [WEAK], 1, "some.lock: requests 2.19.0: CVE-2018-18074; mended in: 2.20.0\n"),
    ],
)
def test_only_what_was_looked_up_is_green(
    tmp_path: Path,
    first: list[dict[str, Any]] | None,
    second: list[dict[str, Any]] | None,
    code: int,
    said: str,
) -> None:
    assert audited(tmp_path, {"pypi": first, "osv": second}) == (code, said)


def test_a_weakness_is_told_along_with_what_could_not_be_looked_up(tmp_path: Path) -> None:
    code, said = audited(tmp_path, {"pypi": [WEAK, SKIPPED], "osv": None})
    assert code == 1
    assert "CVE-2018-18074" in said
    assert "NOT PROVEN for 1 packages (redis)" in said
