"""A telescope has one cursor for all listings: those of services and scripts follow each other."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import yaml

from skyrelay_simulators.telescope import SimulatedTelescope
from support.telescopes import MakeTelescope, settings_of, take_frames
from support.workshop import Home

_PAGES, _PAGE = "get_img_file_page_number", "get_img_file_page_name"
_TARGETS = ("M 31", "M 81", "M 101")
_SCRIPT = """
import json, sys
from pathlib import Path
from skyrelay.direct.telescopes import OwnTelescope
from skyrelay.settings import load_settings

settings = load_settings(Path(sys.argv[1]))
with OwnTelescope(settings, settings.telescopes[0]) as telescope:
    names = {folder: sorted(telescope.list_folder(folder).names) for _ in range(3) for folder in sys.argv[2:]}
print(json.dumps(names))
"""


def listings(telescope: SimulatedTelescope) -> list[tuple[str, list[str]]]:
    """Give each listing by the connection that began it, with those that turned its pages."""
    found: list[tuple[str, list[str]]] = []
    for entry in telescope.journal.entries(channel="rpc"):
        if entry.method == _PAGES:
            found.append((entry.connection, []))
        elif entry.method == _PAGE:
            found[-1][1].append(entry.connection)
    return found


def test_a_script_and_the_services_never_turn_each_others_pages(
    home: Home, make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope()
    names = {f"{target}_sub": take_frames(telescope, target, frames=30) for target in _TARGETS}
    home.own(telescope).prefer("scheduler", inventory_s=0.2)
    database = home.store.engine.url.render_as_string(hide_password=False)
    config = tmp_path / "script.yaml"
    entry = settings_of(telescope).model_dump(mode="json", exclude_none=True)
    config.write_text(
        yaml.safe_dump({"data_dir": str(tmp_path / "data"), "database_url": database, "telescopes": [entry]})
    )
    home.look()
    script = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(config), *names], stdout=subprocess.PIPE, text=True
    )
    while script.poll() is None:
        home.look()
        with suppress(subprocess.TimeoutExpired):
            script.wait(0.2)
    answer, _ = script.communicate()
    found = json.loads(answer.strip().splitlines()[-1])
    assert {
        folder: [name for name in each if name.endswith(".fit")] for folder, each in found.items()
    } == names
    seen = listings(telescope)
    assert [began for began, pages in seen if not set(pages) <= {began}] == []
    assert sum(len(pages) > 1 for _, pages in seen) > len(names), "folders of several pages were listed"
