"""The compose files: every container is confined, and each one that works proves that it does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyrelay.service import installed_services

_ROOT = Path(__file__).parents[2]
_DASHBOARD = _ROOT / "docs/monitoring/grafana-dashboard.json"
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
    assert [name for name, service in _SERVICES.items() if "ports" in service] == ["gateway", "grafana"]


def test_every_service_that_reads_the_database_is_given_the_other_one() -> None:
    overlaid = _read("compose.postgres.yml")["services"].keys() - {"postgres"}
    working_with_it = {
        name
        for name, service in _SERVICES.items()
        if {"data:/data"} & set(map(str, service.get("volumes", ())))
    }
    assert overlaid == working_with_it - {"volumes", "discovery"}  # which says that it goes with SQLite alone


def test_every_installed_service_runs_in_one_container() -> None:
    commands = [service.get("command", ()) for service in _SERVICES.values()]
    run = [name for command in commands if "skyrelay.service" in command for name in command[3:]]
    assert sorted(run) == sorted(installed_services())


def test_a_container_of_several_services_is_healthy_only_when_all_are() -> None:
    for service in _SERVICES.values():
        if "skyrelay.service" in service.get("command", ()):
            asked, run = set(service["healthcheck"]["test"][4:]), set(service["command"][3:])
            assert asked == run | (
                {"intake"} if "scheduler" in run else set()
            )  # it has no process of its own


@pytest.mark.parametrize("profile", ["demo", "discovery", "monitoring"])
def test_what_few_people_want_starts_only_when_it_is_asked_for(profile: str) -> None:
    assert [name for name, service in _SERVICES.items() if service.get("profiles") == [profile]]


def test_every_image_can_be_chosen_and_has_a_version() -> None:
    images = [
        service["image"]
        for name in ("docker-compose.yml", "compose.postgres.yml")
        for service in _read(name)["services"].values()
        if "image" in service and "build" not in service
    ]
    assert len(images) == 4
    assert all(re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:v?\d[\w.-]*\}", image) for image in images)


def test_grafana_finds_the_data_source_that_its_dashboard_names() -> None:
    sources = _read("docs/monitoring/provisioning/datasources/prometheus.yml")["datasources"]
    wanted = {
        variable["query"] for variable in json.loads(_DASHBOARD.read_text("utf-8"))["templating"]["list"]
    }
    assert wanted == {source["type"] for source in sources}
    assert sources[0]["url"] == "http://prometheus:9090"


def test_the_monitors_look_where_their_files_are_mounted() -> None:
    scraping = _read("docs/monitoring/prometheus.yml")
    assert (_DASHBOARD.parent / scraping["rule_files"][0]).is_file()
    assert scraping["scrape_configs"][0]["static_configs"] == [{"targets": ["gateway:8474"]}]
    assert scraping["scrape_configs"][0]["authorization"]["credentials_file"] == "/data/gateway.token"
    assert "data:/data:ro" in _SERVICES["prometheus"]["volumes"]
    provider = _read("docs/monitoring/provisioning/dashboards/skyrelay.yml")["providers"][0]
    for name in ("prometheus", "grafana"):
        assert f"./docs/monitoring:{provider['options']['path']}:ro" in _SERVICES[name]["volumes"]


def test_alerts_are_about_the_job_that_is_scraped() -> None:
    jobs = set(re.findall(r'job="(\w+)"', (_DASHBOARD.parent / "alerts.yml").read_text("utf-8")))
    assert jobs == {each["job_name"] for each in _read("docs/monitoring/prometheus.yml")["scrape_configs"]}
