"""The pages name only what exists: commands and options, profiles, files, the product's own words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from skyrelay.cli.app import app

_ROOT = Path(__file__).parents[2]
_PAGES = sorted(
    [
        _ROOT / "README.md",
        _ROOT / "CONTRIBUTING.md",
        *_ROOT.glob("docs/*.md"),
        *_ROOT.glob("docs/monitoring/*.md"),
    ]
)
_SPOKEN = [
    *(_ROOT / "shared").rglob("*.py"),
    *(_ROOT / "services").rglob("*.py"),
    *(_ROOT / "services").rglob("*.toml"),
]
_OWN_OF_RUN = set(re.findall(r"^\./run (\w+)", (_ROOT / "run").read_text("utf-8"), re.MULTILINE)) - {
    "COMMAND"
}


def _code(page: Path) -> Iterator[str]:
    """Give each line of a code block, and each piece of code in a sentence."""
    text = page.read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("    ") or re.match(r"\s*(\./run|skyrelay|docker compose) ", line):
            yield line.partition("  #")[0].strip()
    yield from re.findall(r"`([^`\n]+)`", text)


def _named(program: str) -> list[tuple[str, list[str]]]:
    found = []
    for page in _PAGES:
        for piece in _code(page):
            commands = re.findall(rf"(?:^|[;&] |gateway ){re.escape(program)} ([^|;&]*)", piece)
            found.extend((f"{page.name}: {piece}", _words(command)) for command in commands)
    return found


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _problem(words: list[str]) -> str | None:
    """Say what is not there: a command, or an option of it."""
    command: Any = typer.main.get_command(app)  # Any: Typer's own copy of Click is private
    left = list(words)
    while hasattr(command, "get_command") and left and re.fullmatch(r"[a-z][a-z-]*", left[0]):
        found = command.get_command(command.context_class(command), left[0])
        if found is None:
            return None if command.invoke_without_command else f"no command {left[0]!r}"
        command, left = found, left[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in left if re.match(r"--[a-z]", word)}
    unknown = given - known - {"--help"}
    return f"no option {sorted(unknown)}" if unknown else None


def test_each_command_of_skyrelay_that_a_page_names_exists_with_its_options() -> None:
    named = _named("skyrelay")
    assert len(named) > 30
    assert [(where, problem) for where, words in named if (problem := _problem(words))] == []


def test_each_command_of_run_that_a_page_names_exists_with_its_options() -> None:
    named = [each for each in _named("./run") if each[1] and each[1][0] not in {"COMMAND", "…"}]
    assert len(named) > 10
    assert [(where, problem) for where, words in named if (problem := _problem_of_run(words))] == []


def _problem_of_run(words: list[str]) -> str | None:
    if words[0] == "bench":
        exists = len(words) < 2 or words[1] == "NAME" or (_ROOT / "benchmarks" / f"{words[1]}.py").is_file()
        return None if exists else f"no benchmark {words[1]!r}"
    is_ours_alone = words[0] in {
        "setup",
        "test",
        "long",
        "lint",
        "lock",
        "docs",
        "audit",
        "scan",
        "sbom",
        "help",
    }
    if is_ours_alone:
        return None if words[0] in _OWN_OF_RUN | {"help"} else f"no command {words[0]!r}"
    return _problem(words)


def test_each_compose_command_names_profiles_files_and_services_that_exist() -> None:
    services = yaml.safe_load((_ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}
    commands = _named("docker compose")
    assert len(commands) > 8
    for where, words in commands:
        for option, value in pairwise(words):
            assert option != "--profile" or value in profiles, where
            assert option != "-f" or (_ROOT / value).is_file(), where
            assert option not in {"exec", "logs"} or value.startswith("-") or value in services, where


def test_each_message_that_the_page_for_trouble_quotes_is_one_of_ours() -> None:
    spoken = " ".join(file.read_text("utf-8") for file in _SPOKEN)
    joined = re.sub(r'"\s*\n\s*f?"', "", spoken)
    quoted = re.findall(r"\*\*([^*]+)\*\*", (_ROOT / "docs/troubleshooting.md").read_text("utf-8"))
    quoted.remove("bold")
    assert len(quoted) > 20
    assert [words for words in quoted if words not in joined] == []


@pytest.mark.parametrize("page", sorted((_ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_each_page_can_be_reached(page: Path) -> None:
    name = page.relative_to(_ROOT / "docs").as_posix()
    places = [_ROOT / "mkdocs.yml", _ROOT / "docs/decisions/README.md"]
    assert any(name.removeprefix("decisions/") in place.read_text("utf-8") for place in places)
