"""``skyrelay settings`` as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from skyrelay.settings import load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store


def test_settings_are_listed_set_and_unset_and_what_the_file_says_is_refused(
    tmp_path: Path, store: Store
) -> None:
    config = tmp_path / "config.yaml"
    url = store.engine.url.render_as_string(hide_password=False)
    sections = {"data_dir": str(tmp_path / "data"), "database_url": url, "observatory": {"latitude": 48.2085}}
    config.write_text(yaml.safe_dump(sections), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}

    def skyrelay(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "skyrelay.cli", "settings", *arguments, "--config", str(config)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=120, check=False
        )

    assert skyrelay("set", "stacking.exclude", "[Moon*, Lunar]").returncode == 0
    listed = skyrelay("list", "--json")
    lines = {line["key"]: line for line in json.loads(listed.stdout)}
    assert (lines["stacking.exclude"]["value"], lines["stacking.exclude"]["source"]) == (
        ["Moon*", "Lunar"],
        "page",
    )
    assert (lines["observatory.latitude"]["value"], lines["observatory.latitude"]["source"]) == (48.2, "file")
    assert "48.2085" not in listed.stdout

    refused = skyrelay("set", "observatory.latitude", "10")
    assert (refused.returncode, "is set in the file, which wins" in refused.stderr) == (2, True)
    assert skyrelay("unset", "stacking.exclude").returncode == 0
    assert settings_in_force(load_settings(config, {}), store).stacking.exclude == ()
