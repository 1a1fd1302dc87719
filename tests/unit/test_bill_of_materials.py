"""The bill of materials says what the product is made of, and of no registry that it was fetched from."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "bill"
HASH = {"alg": "SHA-256", "content": "ab" * 32}
FETCHED = {"type": "distribution", "url": "https://registry.example/simple/celery/", "hashes": [HASH]}
WEBSITE = {"type": "website", "url": "https://docs.celeryq.dev/"}


@pytest.fixture
def program() -> Any:
    """Give the program that cleans a bill, which has no suffix."""
    spec = spec_from_loader("bill", SourceFileLoader("bill", str(PROGRAM)))
    assert spec is not None
    module = module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def test_addresses_go_and_hashes_and_other_references_stay(program: Any) -> None:
    celery = {
        "name": "celery",
        "description": "requirements line 16: celery==5.6.0 --index-url=https://registry.example",
        "purl": "pkg:pypi/celery@5.6.0?repository_url=https://registry.example/simple&arch=any",
        "externalReferences": [FETCHED, WEBSITE],
        "components": [{"name": "within", "externalReferences": [FETCHED]}],
    }
    tool = {"name": "tool", "externalReferences": [FETCHED, WEBSITE]}
    bill = program.cleaned({"components": [celery], "metadata": {"tools": {"components": [tool]}}})
    assert "registry.example" not in json.dumps(bill)
    assert bill["components"][0] == {
        "name": "celery",
        "purl": "pkg:pypi/celery@5.6.0?arch=any",
        "externalReferences": [WEBSITE],
        "hashes": [HASH],
        "components": [{"name": "within", "hashes": [HASH]}],
    }


@pytest.mark.parametrize(
    ("purl", "left"),
    [
        ("pkg:pypi/celery@5.6.0", "pkg:pypi/celery@5.6.0"),
        ("pkg:pypi/celery@5.6.0?repository_url=https%3A%2F%2Fa.example", "pkg:pypi/celery@5.6.0"),
        ("pkg:pypi/celery@5.6.0?download_url=x#folder", "pkg:pypi/celery@5.6.0#folder"),
    ],
)
def test_a_package_is_named_without_where_it_came_from(program: Any, purl: str, left: str) -> None:
    assert program.without_address(purl) == left
