"""The page on the simulators is true: each switch, field, default and address is on it; its examples work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from skyrelay_simulators.site import Site, SiteSpec, load_site
from skyrelay_simulators.telescope.faults import SWITCHES, CommandIncident, Condition, Incident, read_fault

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: match[0]
    for match in re.finditer(r"^\| `(\w+)` \| [^|]* \| `curl [^|]* \|$", PAGE, re.MULTILINE)
}
ORDERS = re.findall(r"curl http://127\.0\.0\.1:4790/faults -d '(\{.*?\})'", PAGE)


def of(order: str) -> tuple[str, bool, dict[str, Any]]:
    """Take an example apart: its switch, whether it is switched on, its fields."""
    fields = json.loads(order)
    fields.pop("serial", None)
    return fields.pop("switch"), fields.pop("on", True), fields


def test_every_switch_has_its_row_and_no_other() -> None:
    assert ROWS.keys() == SWITCHES.keys()


@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_a_rows_example_is_of_its_own_switch(switch: str) -> None:
    [order] = re.findall(r"-d '(\{.*?\})'", ROWS[switch])
    assert of(order)[0] == switch


@pytest.mark.parametrize("order", ORDERS)
def test_every_example_is_understood(order: str) -> None:
    switch, on, fields = of(order)
    assert read_fault(switch, fields) if on else not fields


@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_the_fields_and_defaults_of_a_switch_are_in_its_row(switch: str) -> None:
    kind = SWITCHES[switch]
    common = set(CommandIncident.model_fields)
    prose = ROWS[switch].partition(" | `curl")[0]
    for name, field in kind.model_fields.items():
        if name in common:
            continue
        assert f"`{name}`" in prose
        if not field.is_required() and field.default not in {"", "any"}:
            shown = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
            assert re.search(rf"`{name}` \({re.escape(shown.removesuffix('.0'))}\b", prose)


def test_a_switch_is_under_the_heading_of_its_kind() -> None:
    incidents, conditions = PAGE.index("### Incidents"), PAGE.index("### Conditions")
    for switch, row in ROWS.items():
        kind = Incident if incidents < PAGE.index(row) < conditions else Condition
        assert issubclass(SWITCHES[switch], kind)


def test_every_address_of_the_control_port_is_there_and_no_other() -> None:
    shown = set(re.findall(r"^\| `((?:GET|POST) /[\w/]+)` \|", PAGE, re.MULTILINE))
    with Site(SiteSpec(telescopes=())) as site:
        assert shown == site.routes().keys()


def test_the_site_file_loads(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "site.yaml"
    file.write_text(example, encoding="utf-8")
    site = load_site(file)
    assert [part.telescope.serial for part in site.telescopes] == ["1d3fe189", "a3497936"]


def test_the_example_of_a_test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "simulator.md", "exec"), {})  # noqa: S102 - our own page
