"""Leave a test out, with the reason, where what it needs is not here; where everything must be, fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = "SKYRELAY_REQUIRE_ALL"  # set where everything is installed, so that nothing is left out unseen


def left_out(reason: str) -> NoReturn:
    """Skip the test; or fail it, where ``SKYRELAY_REQUIRE_ALL`` says that nothing may be left out."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"left out although everything is required: {reason}")
    pytest.skip(f"left out: {reason}")
