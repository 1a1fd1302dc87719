"""The catalogue has every text of the pages, each is used, and no template has one of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import skyrelay_gateway
from skyrelay_gateway.texts import catalogue, text

PACKAGE = Path(skyrelay_gateway.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((PACKAGE / "static").glob("*.js"))
_ASKED_FOR = re.compile(r"""\b(?:t|text|say)\(\s*["']([a-z_.]+)["'](?=\s*[,)]|\s+if\b)""")
_OTHERWISE = re.compile(
    r"""\belse\s+["']([a-z_]+(?:\.[a-z_]+)+)["']\s*[,)]"""
)  # `text("a.b" if … else "a.c")`
_PUT_TOGETHER = re.compile(r"""\b(?:t|text|say)\(\s*(?:f["']([a-z_.]+)\{|["']([a-z_.]+)["']\s*[~+])""")
# What stands in templates as a word of its own: a file's name, and what is said of it in the API's example.
_NO_PROSE = {"openapi", "json"}


def used_names() -> tuple[set[str], set[str]]:
    """Give the names that templates and modules use, and the beginnings of those that are put together."""
    names: set[str] = set()
    beginnings: set[str] = set()
    for path in (*TEMPLATES, *MODULES):
        source = path.read_text("utf-8")
        names.update(_ASKED_FOR.findall(source), _OTHERWISE.findall(source))
        beginnings.update(first or second for first, second in _PUT_TOGETHER.findall(source))
    return names, beginnings


def test_every_text_that_is_used_is_there_and_every_text_is_used() -> None:
    names, beginnings = used_names()
    there = set(catalogue())
    assert names - there == set()
    assert [each for each in beginnings if not any(name.startswith(each) for name in there)] == []
    unused = {name for name in there - names if not any(name.startswith(each) for each in beginnings)}
    assert unused == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_text_of_its_own(template: Path) -> None:
    source = re.sub(r"\{#.*?#\}", "", template.read_text("utf-8"), flags=re.DOTALL)
    source = re.sub(r"<(pre|style|script)\b.*?</\1>", "", source, flags=re.DOTALL)
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", bare))
    labels = re.findall(r"""(?:alt|title|aria-label|placeholder)="[^"{]*[A-Za-z]{2,}""", source)
    assert [word for word in words if word not in _NO_PROSE] == []
    assert labels == []
    assert said_by(" ".join(re.findall(r"\{%.*?%\}|\{\{.*?\}\}", source, flags=re.DOTALL))) == []


def said_by(expressions: str) -> list[str]:
    """Give the strings of expressions that are meant for people: several words, or a capital in front."""
    compared = re.sub(r"""(?:==|!=)\s*(["']).*?\1""", "", expressions)
    literals = [match[2] for match in re.finditer(r"""(["'])(.*?)\1""", compared)]
    return [
        each
        for each in literals
        if "%" not in each and re.search(r"^[A-Z][a-z]|[A-Za-z]{2,} [A-Za-z]{2,}", each)
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_has_a_text_of_its_own(script: Path) -> None:
    code = re.sub(r"""(?<!:)//.*|"use strict"|className = .*""", "", script.read_text("utf-8"))
    literals = re.findall(r"""["`]([^"`]*)["`]""", code)
    assert [each for each in literals if re.search(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]+ ", each)] == []


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1 frame"), (2, "2 frames"), (0, "0 frames"), (12345, "12,345 frames")]
)
def test_numbers_have_their_form(number: int, words: str) -> None:
    assert text("count.frames", n=number) == words


def test_a_text_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        text("tonight.nonsense")
    with pytest.raises(KeyError):
        text("tonight.night_of", wrong="name")
