"""The page on configuration is true: every setting is on it, with its default, and its examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from skyrelay.settings import Settings, TelescopeSettings, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == "telescopes":
            yield from _keys(TelescopeSettings, "telescopes[].")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _keys_on_page() -> set[str]:
    keys: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row)
        section = names[0].rpartition(".")[0]
        keys.update(f"{section}{name}" if name.startswith(".") else name for name in names)
    return keys


def test_every_setting_is_on_the_page_and_no_other() -> None:
    assert _keys_on_page() == set(_keys(Settings))


@pytest.mark.parametrize(
    ("key", "default"),
    [
        (f"{section}.{name}", default)
        for section, model in Settings()
        if isinstance(model, BaseModel)
        for name, default in model
        if isinstance(default, bool | int | float)
    ],
)
def test_the_default_on_the_page_is_the_real_one(key: str, default: float) -> None:
    section, _, name = key.partition(".")
    rows = [
        line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    row = next(
        row for row in rows if f"`{key}`" in row[1] or (f"`{section}." in row[1] and f"`.{name}`" in row[1])
    )
    shown = {str(default).lower(), f"{default:g}"}
    assert shown & set(re.findall(r"[\w.]+", row[2]))


def test_the_examples_load(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(examples), encoding="utf-8")
    settings = load_settings(file, environ={})
    assert settings.telescopes[0].name == "garden"
    assert settings.image_watcher.watch_path[0].path == Path("/srv/seestar/MyWorks")
