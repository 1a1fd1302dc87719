"""Simulated telescopes, and the configuration with which a script finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyrelay.settings import TelescopeSettings
from support.telescopes import make_telescope

__all__ = ["make_telescope"]

Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Give a function that writes the configuration and names it in the environment, as a person would."""

    def write(*telescopes: TelescopeSettings, **sections: Any) -> Path:
        content = {
            "data_dir": str(tmp_path / "data"),
            "telescopes": [telescope.model_dump(mode="json") for telescope in telescopes],
            **sections,
        }
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        monkeypatch.setenv("SKYRELAY_CONFIG", str(file))
        return file

    return write
