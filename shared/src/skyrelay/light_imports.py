"""Keep a library from loading what it would use if it is there, and we never do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Have a module look as if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # the import system's own way of saying so
    try:
        yield
    finally:
        del sys.modules[name]


def read_answers_without_guessing() -> None:
    """Keep requests from loading what guesses the encoding of a text (3 MB): all servers we ask say theirs.

    Call it before anything imports requests, which then takes UTF-8 where a server does not say, and warns.
    """
    sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # as above
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")
