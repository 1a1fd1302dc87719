"""The telescope's own plan of a night (``ViewPlan``): what runs, and handing one over.

Source: the public client's ``set_view_plan`` and the app state of firmware 4.27 and later.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import CommandRefused, Observing, ReplyLost
from skyrelay.seestar.fields import Fields, JsonValue

_WORKING = "working"
_FIRST_ID, _IDS = 100_000_000, 900_000_000  # nine digits


@dataclass(frozen=True, slots=True)
class PlannedView:
    """One target of a plan.

    Attributes
    ----------
    ra_hours, dec_deg
        J2000.
    start_min
        Minutes from the local midnight that begins the evening's date; beyond 1440 past the next one.
    duration_min
        How long it is observed.
    """

    target: str
    ra_hours: float
    dec_deg: float
    start_min: int
    duration_min: int
    lp_filter: bool = False


@dataclass(frozen=True, slots=True)
class RunningPlan:
    """The plan that the telescope works on; ``name`` is empty when it does not say."""

    name: str


def running_plan(connection: Connection) -> RunningPlan | None:
    """Ask for the plan under way; `None` when none is."""
    state = Fields.of(connection.read("iscope_get_app_state")).inner("ViewPlan")
    if state.text("state") != _WORKING:
        return None
    return RunningPlan(state.inner("plan").text("plan_name") or "")


def start_plan(
    connection: Connection, name: str, evening: str, views: Sequence[PlannedView], deadline: Deadline | None
) -> None:
    """Hand a plan over, and see that the telescope works on it.

    Parameters
    ----------
    name
        By which the plan is known again.
    evening
        Local date of the evening, ``yyyy.MM.dd``.

    Raises
    ------
    Observing
        The telescope works on another plan all the same.
    ReplyLost
        It may have been handed over: look at `running_plan`.
    Unreachable, KeyMissing, KeyRefused, CommandRefused, DeadlinePassed
        It was not handed over.
    """
    plan: JsonValue = {"plan_name": name, "update_time_seestar": evening, "list": _entries(name, views)}
    lost: ReplyLost | None = None
    try:
        connection.command("set_view_plan", plan, deadline=deadline)
    except ReplyLost as error:  # what it works on says whether it arrived
        lost = error
    running = running_plan(connection)
    if running is not None and running.name == name:
        return
    if lost is not None:
        raise lost
    if running is not None:
        raise Observing(f"the telescope works on another plan ({running.name or 'without a name'})")


def stop_plan(connection: Connection, deadline: Deadline | None) -> None:
    """Stop the plan under way, if there is one."""
    try:
        connection.command("stop_func", {"name": "ViewPlan"}, deadline=deadline)
    except CommandRefused:
        if running_plan(connection) is not None:
            raise


def _entries(name: str, views: Sequence[PlannedView]) -> list[JsonValue]:
    first = zlib.crc32(name.encode()) % _IDS
    return [
        {
            "target_id": _FIRST_ID + (first + number) % _IDS,
            "target_name": view.target,
            "alias_name": "",
            "target_ra_dec": [view.ra_hours, view.dec_deg],
            "lp_filter": view.lp_filter,
            "start_min": view.start_min,
            "duration_min": view.duration_min,
        }
        for number, view in enumerate(views)
    ]
