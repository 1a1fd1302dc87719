"""Leave a test out, with the reason, where what it needs is not here; where everything must be, fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = "TESTS_REQUIRE_ALL"  # set where everything is installed (no SKYRELAY_…: that is a setting)


def left_out(reason: str, *, may_be_required: bool = True) -> NoReturn:
    """Skip the test; or fail it, where ``TESTS_REQUIRE_ALL`` says that nothing may be left out.

    ``may_be_required`` is false for what no installation can give: what this machine's kernel, or the
    container around us, does not allow.
    """
    if may_be_required and os.environ.get(REQUIRE_ALL):
        pytest.fail(f"left out although everything is required: {reason}")
    pytest.skip(f"left out: {reason}")
