"""What every page has around it: the way to the root, the theme, the clock by which its times are written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from skyrelay.settings import Settings
from skyrelay.store.tables import Telescope
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.nights import latest_offset
from skyrelay_gateway.templating import render

THEMES = ("light", "dark", "red")
THEME_COOKIE = "skyrelay-theme"


@dataclass(frozen=True, slots=True)
class WallClock:
    """The observatory's clock: by it people read times. ``now`` is aware UTC."""

    now: datetime
    zone: tzinfo

    def local(self, moment: datetime) -> datetime:
        """Give what the observatory's clock showed at an aware moment."""
        return moment.astimezone(self.zone)

    def clock(self, moment: datetime) -> str:
        """Write a moment as hours and minutes, with its date where it is not near."""
        local = self.local(moment)
        near = abs(moment - self.now) < timedelta(hours=18)
        return f"{local:%H:%M}" if near else f"{local:%-d %b %Y, %H:%M}"

    @property
    def today(self) -> date:
        """The observatory's date."""
        return self.local(self.now).date()


def wall_clock(session: Session, settings: Settings, now: datetime) -> WallClock:
    """Find the observatory's clock.

    It is the configured zone's, else that of a telescope, else that of the block that began last, and at
    last this server's.
    """
    return WallClock(now, settings.site_zone or _zone_of_telescopes(session) or _zone_of_blocks(session, now))


def _zone_of_telescopes(session: Session) -> tzinfo | None:
    for configured, told in session.execute(
        select(Telescope.timezone, Telescope.zone).order_by(Telescope.id).limit(8)
    ):
        name = configured if configured != "auto" else told
        if name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError):  # it told us something that is no zone
                continue
    return None


def _zone_of_blocks(session: Session, now: datetime) -> tzinfo:
    offset = latest_offset(session)
    return (now.astimezone().tzinfo or UTC) if offset is None else timezone(offset)


def way_to_root(request: Request) -> str:
    """Give what leads from a page's address to the gateway's root: ``../`` for each step below it.

    So pages work below any path of a reverse proxy, whether it tells us or not.
    """
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return "../" * (path.count("/") - 1)


def theme_of(request: Request) -> str:
    """Give the theme that a person chose in this browser; empty: as the device has it."""
    theme = request.cookies.get(THEME_COOKIE, "")
    return theme if theme in THEMES else ""


def render_page(
    request: Request,
    gateway: Gateway,
    session: Session,
    template: str,
    *,
    here: str,
    status_code: int = 200,
    **values: Any,
) -> HTMLResponse:
    """Answer with a page: a template that extends ``base.html``.

    Parameters
    ----------
    request
        What is answered.
    gateway
        The collaborators.
    session
        A reading session.
    template
        Its file.
    here
        Its place in the menu, such as ``gallery``.
    status_code
        HTTP's.
    values
        What else the template shows; it gets ``clock``, a `WallClock`, and ``now`` (UTC) beside them.
    """
    clock = wall_clock(session, gateway.settings, gateway.clock())
    frame = {"root": way_to_root(request), "clock": clock, "now": clock.now}
    return render(template, status_code, **{**frame, "here": here, **values})
