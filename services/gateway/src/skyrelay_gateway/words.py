"""The words in which the gateway speaks of states, and what a person can do about them."""

from __future__ import annotations

from datetime import datetime, timedelta

from skyrelay.domain.states import Reach, TelescopeState
from skyrelay.store.tables import Telescope
from skyrelay_gateway.texts import text

# The states that go on until a person does something; an unreachable telescope is usually just asleep.
NEEDS_A_PERSON = frozenset(
    {TelescopeState.KEY_MISSING, TelescopeState.KEY_REFUSED, TelescopeState.FULL, TelescopeState.CLOCK_WRONG}
)


def state_words(state: TelescopeState) -> str:
    """Say in a few words what a telescope of that state is doing."""
    return text("telescope_state." + _name(state))


def reach_words(reach: Reach) -> str:
    """Say how a telescope is away: what that looks like from here, and no more than is known."""
    return text("telescope_away." + _name(reach))


def remedy_words(state: TelescopeState) -> str:
    """Say what a person does about a state that `NEEDS_A_PERSON`."""
    return text("telescope_remedy." + _name(state))


def _name(state: TelescopeState | Reach) -> str:
    return state.value.replace(" ", "_")


def telescope_words(row: Telescope) -> str:
    """Say in a few words what a telescope is doing; of one that is away, how."""
    return words_of(TelescopeState(row.state), None if row.reach is None else Reach(row.reach))


def words_of(state: TelescopeState, reach: Reach | None) -> str:
    """Say what a telescope in this state is doing; of one that is away, how, where that is known."""
    if state is TelescopeState.UNREACHABLE and reach is not None and reach is not Reach.ANSWERS:
        return reach_words(reach)
    return state_words(state)


def ago(moment: datetime | None, now: datetime) -> str:
    """Write how long ago ``moment`` was, or how far ahead it lies."""
    if moment is None:
        return text("never")
    distance = now - moment
    if abs(distance) < timedelta(seconds=5):
        return text("time.now")
    way = "time.ago" if distance > timedelta(0) else "time.ahead"
    return text(way, span=span(abs(distance)))


def span(duration: timedelta) -> str:
    """Write a duration with its largest unit."""
    seconds = int(duration.total_seconds())
    *larger, smallest = text("time.units").split()
    for unit_s, unit in zip((86400, 3600, 60), larger, strict=True):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} {smallest}"
