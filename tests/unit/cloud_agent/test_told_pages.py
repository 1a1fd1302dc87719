"""docs/home-assistant.md and docs/notifications.md are true: examples load, entities and kinds are named."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from skyrelay.domain.states import TelescopeState
from skyrelay.settings import HomeAssistantSettings, NotificationsSettings, load_settings
from skyrelay.store.receipts import ReceiptTotals
from skyrelay_cloud_agent.home_assistant.documents import Topics, retained_documents
from skyrelay_cloud_agent.home_assistant.home_state import HomeState, ReceiptFacts, TelescopeFacts

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", ["home-assistant.md", "notifications.md"])
def test_the_example_loads(page: str, tmp_path: Path) -> None:
    first = EXAMPLE.findall((DOCS / page).read_text("utf-8"))[0]
    (tmp_path / "config.yaml").write_text(first, encoding="utf-8")
    settings = load_settings(tmp_path / "config.yaml", environ={})
    assert settings.home_assistant.enabled or len(settings.notifications.urls) == 2


def test_every_entity_is_on_the_page_and_no_other() -> None:
    garden = TelescopeFacts(
        1, "a", "garden", "a", None, None, TelescopeState.READY, "Idle", 1, True, 1.0, 1, is_paused=False
    )
    receipt = ReceiptFacts(date(2025, 3, 26), True, ReceiptTotals())
    home = HomeState((garden,), 0, 0, 0, 0, 0, 0, False, receipt)
    documents = retained_documents(Topics.of(HomeAssistantSettings()), home)
    made = {
        (document["device"]["name"].replace("garden", "telescope"), document["name"])
        for document in map(json.loads, documents.values())
        if "unique_id" in document
    }
    rows = re.findall(
        r"^\| (Skyrelay|telescope) \| (.*?) \|", (DOCS / "home-assistant.md").read_text("utf-8"), re.MULTILINE
    )
    assert made == {(device, name) for device, names in rows for name in names.split(", ")}


def test_every_kind_of_notification_is_on_the_page() -> None:
    kinds = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "notifications.md").read_text("utf-8"), re.MULTILINE))
    assert kinds == NotificationsSettings.model_fields.keys() - {"urls"}


def test_the_automation_flips_the_switch_that_there_is() -> None:
    automation = yaml.safe_load(EXAMPLE.findall((DOCS / "home-assistant.md").read_text("utf-8"))[1])
    # Home Assistant names an entity by its device and its own name.
    assert automation["action"]["target"]["entity_id"] == "switch.skyrelay_pause_stacking"
