"""The templates: everything that goes into one is escaped."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from skyrelay.store.receipts import duration_text
from skyrelay.version import __version__
from skyrelay_gateway.words import ago

_CODE = re.compile(r"(`+)([^`]+)\1")


def _code(text: str) -> Markup:
    """Set what stands between backquotes as code; the text itself is escaped first."""
    return Markup(_CODE.sub(r"<code>\2</code>", str(escape(text))))  # noqa: S704 - escaped just here


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("skyrelay_gateway"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["version"] = __version__
    environment.filters["ago"] = ago
    environment.filters["code"] = _code
    environment.filters["duration"] = duration_text
    return environment


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a template of this package."""
    return HTMLResponse(_environment().get_template(template).render(**({"root": ""} | values)), status_code)
