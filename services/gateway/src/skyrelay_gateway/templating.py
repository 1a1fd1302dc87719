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
from skyrelay_gateway import forms
from skyrelay_gateway.visits import current_visit
from skyrelay_gateway.words import ago

_CODE = re.compile(r"(`+)([^`]+)\1")


def _code(text: str) -> Markup:
    """Set what stands between backquotes as code; the text itself is escaped first."""
    return Markup(_CODE.sub(r"<code>\2</code>", str(escape(text))))  # noqa: S704 - escaped just here


def _url(path: str) -> str:
    """Give the address of one of our own paths, below what a reverse proxy puts before it."""
    return current_visit().root_path + path


def _csrf_field() -> Markup:
    """Give the hidden field that every form carries (see `skyrelay_gateway.forms`)."""
    return forms.csrf_field(current_visit())


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
    environment.globals["url"] = _url
    environment.globals["csrf_field"] = _csrf_field
    environment.globals["visit"] = current_visit
    environment.filters["ago"] = ago
    environment.filters["code"] = _code
    environment.filters["duration"] = duration_text
    return environment


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a template of this package.

    Beside ``values`` each template has ``url('/path')`` for links that are right below a sub-path too,
    ``csrf_field()`` for its forms, and ``visit()``: who looks (`skyrelay_gateway.visits.Visit`).
    """
    return HTMLResponse(_environment().get_template(template).render(**values), status_code)
