"""One hierarchy of errors: ours by kind, and a RuntimeError for scripts."""

from __future__ import annotations

import inspect

import pytest

from skyrelay.crowdsky import errors
from skyrelay.errors import AmbiguousError, PermanentError, TransientError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__ and kind is not errors.CrowdSkyError
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_says_what_to_do_and_is_a_runtime_error(kind: type[errors.CrowdSkyError]) -> None:
    decisions = [issubclass(kind, each) for each in (TransientError, PermanentError, AmbiguousError)]

    assert decisions.count(True) == 1
    assert issubclass(kind, RuntimeError)
    assert str(kind("what went wrong")) == "what went wrong"
