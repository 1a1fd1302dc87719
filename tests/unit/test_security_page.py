"""The page on security is true: what it names is there, and its example loads."""

from __future__ import annotations

import re
from pathlib import Path

from skyrelay.settings import load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_each_attempt_names_tests_that_are_there() -> None:
    rows = [row.split("|") for row in PAGE.splitlines() if row.startswith("| ") and "---" not in row][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)`", row[3])
        assert named, row[1]
        for name in named:
            file = ROOT / name if "/" in name else ROOT / "tests" / "integration" / "gateway" / name
            assert file.is_file(), name


def test_the_example_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config.yaml").write_text(example, encoding="utf-8")
    gateway = load_settings(tmp_path / "config.yaml", environ={}).gateway
    assert (gateway.root_path, gateway.hosts) == ("/skyrelay", ("sky.example.org",))
    assert [str(network) for network in gateway.trusted_proxies] == ["192.168.1.2/32"]
