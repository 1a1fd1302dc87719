"""What the telescope is looking at: the View and the ViewPlan of its app state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Any

from skyrelay_simulators.telescope.journal import Journal

Publish = Callable[[str, dict[str, Any]], None]


class Activity(StrEnum):
    """The ``state`` of anything in the app state."""

    WORKING = "working"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class View:
    """What ``get_view_state`` shows."""

    state: Activity = Activity.CANCEL
    stage: str = ""
    mode: str = "none"
    target_name: str = "Unknown"
    ra_hours: float = 0.0
    dec_deg: float = 0.0
    lp_filter: bool = False
    gain: int = 80

    def to_json(self) -> dict[str, Any]:
        """Give the fields as the firmware names them (seestarpy, firmware 4.27)."""
        return {
            "state": self.state,
            "stage": self.stage,
            "mode": self.mode,
            "target_name": self.target_name,
            "target_ra_dec": [self.ra_hours, self.dec_deg],
            "lp_filter": self.lp_filter,
            "gain": self.gain,
        }


class Observation:
    """The telescope's view and plan; thread-safe, and every change is an event.

    Parameters
    ----------
    publish
        Tells the connected clients.
    journal
        Is told when observing begins and ends.
    """

    def __init__(self, publish: Publish, journal: Journal) -> None:
        self._publish = publish
        self._journal = journal
        self._noted_busy = False
        self._view = View()
        self._plan: dict[str, Any] | None = None
        self._lock = Lock()

    @property
    def view(self) -> View:
        """The present view."""
        with self._lock:
            return self._view

    @property
    def plan(self) -> dict[str, Any] | None:
        """The ``ViewPlan`` of the app state, if there ever was one."""
        with self._lock:
            return None if self._plan is None else dict(self._plan)

    @property
    def busy(self) -> bool:
        """Whether a view or a plan is working."""
        plan = self.plan
        return self.view.state is Activity.WORKING or (plan is not None and plan["state"] == Activity.WORKING)

    def begin(self, view: View) -> None:
        """Look at something."""
        with self._lock:
            self._view = view
        self._note()
        self._publish("View", view.to_json())

    def end(self, state: Activity = Activity.COMPLETE) -> None:
        """Stop looking; the last target's name stays, as live."""
        with self._lock:
            last = self._view
            self._view = View(
                state, "", "none", last.target_name, last.ra_hours, last.dec_deg, last.lp_filter
            )
            view = self._view
        self._note()
        self._publish("View", view.to_json())

    def forget(self) -> None:
        """Know of no view and no plan, as after a reboot; nobody is there to be told."""
        with self._lock:
            self._view, self._plan = View(), None
        self._note()

    def begin_plan(self, plan: dict[str, Any]) -> None:
        """Take a plan and work on it."""
        self._set_plan({"state": Activity.WORKING, "plan": plan})

    def end_plan(self, state: Activity = Activity.CANCEL) -> None:
        """Stop the plan, if there is one."""
        plan = self.plan
        if plan is not None:
            self._set_plan({**plan, "state": state})

    def _set_plan(self, plan: dict[str, Any]) -> None:
        with self._lock:
            self._plan = plan
        self._note()
        self._publish("ViewPlan", plan)

    def _note(self) -> None:
        busy, target = self.busy, self.view.target_name
        with self._lock:
            changed, self._noted_busy = busy != self._noted_busy, busy
        if changed:
            self._journal.note("telescope", "", "observing" if busy else "idle", params={"target": target})
