"""The templates: everything that goes into one is escaped, and every text comes from the catalogue."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from skyrelay.store.receipts import duration_text
from skyrelay.version import __version__
from skyrelay_gateway import forms
from skyrelay_gateway.texts import text
from skyrelay_gateway.visits import current_visit
from skyrelay_gateway.words import ago

_CODE = re.compile(r"(`+)([^`]+)\1")
# What the layout needs of a page; one that knows nothing of it (see skyrelay_gateway.page_frame) gets these.
_LAYOUT: dict[str, Any] = {"here": "", "now": None}


def _code(words: str) -> Markup:
    """Set what stands between backquotes as code; the text itself is escaped first."""
    return Markup(_CODE.sub(r"<code>\2</code>", str(escape(words))))  # noqa: S704 - escaped just here


def _breakable(name: str) -> Markup:
    """Let a long file name be broken after its underscores; the name itself is escaped first."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))  # noqa: S704 - escaped just here


def _size(number: int | None) -> str:
    """Write a size in bytes for people."""
    megabytes = (number or 0) / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.1f} MB"


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


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
    environment.globals.update(
        version=__version__, t=text, url=_url, csrf_field=_csrf_field, visit=current_visit
    )
    environment.filters.update(ago=ago, breakable=_breakable, code=_code, duration=duration_text)
    environment.filters.update(size=_size, utc=_utc)
    return environment


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a template of this package.

    Beside ``values`` each template has ``url('/path')`` for links that are right below a sub-path too,
    ``csrf_field()`` for its forms, and ``visit()``: who looks (`skyrelay_gateway.visits.Visit`).

    One that extends ``base.html`` gets ``root`` (what leads from its address to the gateway's root),
    ``here`` (its place in the menu) from `skyrelay_gateway.page_frame.render_page`; ``theme`` is the visit's.
    """
    layout = _LAYOUT | {"root": _url("/"), "theme": current_visit().theme}
    return HTMLResponse(_environment().get_template(template).render(**(layout | values)), status_code)
