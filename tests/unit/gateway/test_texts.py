"""The catalogue has every text of the pages, each is used, and no template has one of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import skyrelay_gateway
from skyrelay_gateway.texts import catalogue, text

PACKAGE = Path(skyrelay_gateway.__file__).parent
# Pages of other parts of the gateway, whose texts stand in them.
ELSEWHERE = {
    "login.html",
    "logout.html",
    "welcome.html",
    "access_banner.html",
    "access_note.html",
    "network.html",
}
TEMPLATES = sorted(
    path
    for path in (PACKAGE / "templates").rglob("*.html")
    if path.name not in ELSEWHERE and path.parent.name != "setup"
)
_NAME = re.compile(r"""\b(?:t|text)\(\s*["']([a-z_.]+)["']\s*(~)?""")


def used_names() -> tuple[set[str], set[str]]:
    """Give the names that templates and modules use, and the beginnings of those that are put together."""
    names, beginnings = set(), set()
    for path in (*TEMPLATES, *PACKAGE.rglob("*.py")):
        for name, is_put_together in _NAME.findall(path.read_text("utf-8")):
            (beginnings if is_put_together else names).add(name)
    return names, beginnings


def test_every_text_that_is_used_is_there_and_every_text_is_used() -> None:
    names, beginnings = used_names()
    there = set(catalogue())
    assert names - there == set()
    unused = {name for name in there - names if not any(name.startswith(each) for each in beginnings)}
    assert unused == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_text_of_its_own(template: Path) -> None:
    source = re.sub(r"\{#.*?#\}", "", template.read_text("utf-8"), flags=re.DOTALL)
    source = re.sub(r"<(pre|style|script)\b.*?</\1>", "", source, flags=re.DOTALL)
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", bare))
    labels = re.findall(r"""(?:alt|title|aria-label|placeholder)="[^"{]*[A-Za-z]{2,}""", source)
    assert [word for word in words if word not in {"openapi", "json"}] == []
    assert labels == []


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
