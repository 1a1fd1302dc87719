"""Hand a plan, or an interrupt, to a telescope: under its lease, never in the place of what runs there."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import select

from skyrelay.domain.observing_plan import PlanItem, Site, Verdict
from skyrelay.domain.states import TelescopeState
from skyrelay.errors import PermanentError, RefusedByRule, TransientError
from skyrelay.logs import get_logger
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import AnotherTelescope
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.seestar.view_plan import PlannedView
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.tables import Telescope

INTERRUPT = "interrupt "  # how the names of interrupts begin at the telescope
_A_COMMAND = timedelta(seconds=20)
_LP_FILTERS = frozenset({"LP", "LPRO", "DUALBAND", "DUAL BAND"})  # its light-pollution filter, by any name

_log = get_logger(__name__)


class TelescopeBusy(TransientError):  # noqa: N818 - the state it names
    """The telescope does something else just now: it is asked again later."""


class AnotherPlanRuns(RefusedByRule):
    """A plan that is not this one runs on the telescope: only a person may have it replaced."""


class NothingToDo(RefusedByRule):
    """No item of it can be done (any more)."""


def choose_telescope(store: Store, settings: Settings) -> Telescope:
    """Give the row of the telescope that plans are for.

    Raises
    ------
    PermanentError
        If none is meant, or it cannot be told which.
    """
    with store.read() as session:
        rows = [row for row in session.scalars(select(Telescope)) if row.address is not None]
    wanted = settings.cloud.telescope
    found = [row for row in rows if row.name == wanted] if wanted else rows
    if len(found) == 1:
        return found[0]
    if wanted:
        raise PermanentError(f"cloud.telescope: there is no telescope named {wanted!r} with an address")
    names = ", ".join(sorted(row.name for row in rows))
    raise PermanentError(
        f"there are several telescopes ({names}): set cloud.telescope to the one that plans are for"
        if rows
        else "there is no telescope to hand a plan to"
    )


def site_of(settings: Settings) -> Site | None:
    """Give where the observatory is, if that is configured."""
    latitude, longitude = settings.observatory.latitude, settings.observatory.longitude
    return None if latitude is None or longitude is None else Site(latitude, longitude)


def hand_over(
    store: Store,
    row: Telescope,
    name: str,
    night: date,
    verdicts: Sequence[Verdict],
    *,
    now: datetime,
    fallback_zone: tzinfo | None,
    replace_running: bool,
) -> None:
    """Have a telescope work on the good items of a plan.

    Parameters
    ----------
    name
        The plan's at the telescope: one that works on it already has it.
    night
        Local date of the evening.
    fallback_zone
        For a telescope that does not name its zone.
    replace_running
        A person allowed that a plan which runs is stopped for this one.

    Raises
    ------
    TelescopeBusy, skyrelay.errors.TransientError
        Not now; later perhaps.
    AnotherPlanRuns, NothingToDo, skyrelay.errors.SkyrelayError
        Not by itself.
    """
    good = [verdict.item for verdict in verdicts if verdict.is_good and verdict.item is not None]
    if not good:
        reasons = "; ".join(sorted({verdict.reason for verdict in verdicts})) or "it has no items"
        raise NothingToDo(f"nothing in it can be done: {reasons}")
    with held(store, row.id, f"{socket.gethostname()}:{os.getpid()}:cloud-agent") as lease:
        if lease is None:
            raise TelescopeBusy(f"{row.name} is being driven by the stacker")
        with Seestar(address_of(row)) as seestar:
            _hand_over(seestar, lease, row, name, night, good, now, fallback_zone, replace_running)


def views_of(items: Sequence[PlanItem], night: date, now: datetime, zone: tzinfo | None) -> list[PlannedView]:
    """Write items as the telescope wants them: minutes of its own clock, none longer than until the next.

    An item that has begun already starts at once, and ends when it was to end.
    """
    ordered = sorted(items, key=lambda item: item.start)
    starts = [max(item.start, now) for item in ordered]
    ends = [
        min(item.end, starts[number + 1]) if number + 1 < len(ordered) else item.end
        for number, item in enumerate(ordered)
    ]
    return [
        PlannedView(
            target=item.target,
            ra_hours=item.ra_hours,
            dec_deg=item.dec_deg,
            start_min=_minutes(start, night, zone),
            duration_min=max(1, math.ceil((end - start) / timedelta(minutes=1))),
            lp_filter=item.filter.upper() in _LP_FILTERS,
        )
        for item, start, end in zip(ordered, starts, ends, strict=True)
        if end > start
    ]


def address_of(row: Telescope) -> TelescopeAddress:
    """Give the address under which a telescope's row says that it answers."""
    return TelescopeAddress(
        name=row.name,
        host=row.address or "",
        rpc_port=row.rpc_port,
        http_port=row.http_port,
        smb_port=row.smb_port,
        smb_share=row.smb_share,
        key_path=Path(row.key_path) if row.key_path else None,
    )


def _hand_over(
    seestar: Seestar,
    lease: HeldLease,
    row: Telescope,
    name: str,
    night: date,
    items: Sequence[PlanItem],
    now: datetime,
    fallback_zone: tzinfo | None,
    replace_running: bool,
) -> None:
    device = seestar.identify()
    if row.serial is not None and device.serial != row.serial:
        raise AnotherTelescope(device.serial)
    running = seestar.running_plan()
    if running is not None and running.name == name:
        return
    if running is not None and not replace_running and running.name.startswith(INTERRUPT):
        raise TelescopeBusy(f"{row.name} works on an {running.name}, which is over soon")
    if running is not None and not replace_running:
        raise AnotherPlanRuns(f"{row.name} works on another plan ({running.name or 'without a name'})")
    if running is None:
        _check_free(seestar, row)
    views = views_of(items, night, now, ZoneInfo(device.zone) if device.zone else fallback_zone)
    lease.check(_A_COMMAND)
    if running is not None:
        _log.info("a running plan is stopped for another, as asked", telescope=row.name, plan=running.name)
        seestar.stop_plan(deadline=Deadline.after(_A_COMMAND))
    lease.check(timedelta(seconds=5))
    seestar.start_plan(name, night.strftime("%Y.%m.%d"), views, deadline=Deadline.after(_A_COMMAND))
    _log.info("a plan was handed over", telescope=row.name, plan=name, items=len(views))


def _check_free(seestar: Seestar, row: Telescope) -> None:
    status = seestar.state()
    if status.state is not TelescopeState.READY:
        raise TelescopeBusy(f"{row.name}: {status.reason or status.state}")


def _minutes(moment: datetime, night: date, zone: tzinfo | None) -> int:
    """Give the minutes by the telescope's clock, rounded down, from the midnight that begins the evening."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    return int((local - datetime.combine(night, time())) / timedelta(minutes=1))


def today(now: datetime, zone: tzinfo | None) -> date:
    """Give the local date of the evening whose night ``now`` is in."""
    return (now.astimezone(zone) - timedelta(hours=12)).date()
