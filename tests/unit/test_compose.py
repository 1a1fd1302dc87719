"""The compose files: every container is confined, and each one that works proves that it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_ENDS_BY_ITSELF = {"migrate", "volumes"}


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((_ROOT / name).read_text("utf-8"))
    return document


_SERVICES: dict[str, dict[str, Any]] = _read("docker-compose.yml")["services"]


@pytest.mark.parametrize("service", _SERVICES)
def test_a_container_is_confined(service: str) -> None:
    container = _SERVICES[service]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["read_only"] is True
    assert container["mem_limit"]
    assert set(container["logging"]["options"]) == {"max-size", "max-file"}
    assert ("0:0" in container["user"]) is (service == "volumes")


@pytest.mark.parametrize("service", sorted(_SERVICES.keys() - _ENDS_BY_ITSELF))
def test_a_container_that_stays_says_whether_it_works(service: str) -> None:
    assert _SERVICES[service]["healthcheck"]["test"][0] == "CMD"


def test_only_the_page_is_reached_from_outside() -> None:
    assert [name for name, service in _SERVICES.items() if "ports" in service] == ["gateway"]


def test_every_service_that_reads_the_database_is_given_the_other_one() -> None:
    overlaid = _read("compose.postgres.yml")["services"].keys() - {"postgres"}
    working_with_it = {
        name
        for name, service in _SERVICES.items()
        if {"data:/data"} & set(map(str, service.get("volumes", ())))
    }
    assert overlaid == working_with_it - {"volumes"}
