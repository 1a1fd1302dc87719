"""The words in which the gateway speaks of states, and what a person can do about them."""

from __future__ import annotations

from datetime import datetime, timedelta

from skyrelay.domain.states import Reach, TelescopeState
from skyrelay.domain.telescope_words import words_of
from skyrelay.store.tables import Telescope

# The states that go on until a person does something; an unreachable telescope is usually just asleep.
TELESCOPE_REMEDIES = {
    TelescopeState.KEY_MISSING: (
        "Its firmware asks for a key: put the key file beside config.yaml and name it as key_path of this "
        "telescope."
    ),
    TelescopeState.KEY_REFUSED: "Check that key_path of this telescope names the key for its firmware.",
    TelescopeState.FULL: "Make room: move old targets off the telescope, or delete them in its app.",
    TelescopeState.CLOCK_WRONG: "Connect its app once, which sets its clock; check this host's too.",
}
SETUP_WHAT_TO_DO = (
    "Nothing is stacked or sent by itself yet. Go through the set-up at /setup and press Start, or put "
    "`setup: done` into config.yaml (or SKYRELAY_SETUP=done) and start Skyrelay again."
)


def telescope_words(row: Telescope) -> str:
    """Say in a few words what a telescope is doing; of one that is away, how."""
    return words_of(TelescopeState(row.state), Reach(row.reach) if row.reach else None)


def ago(moment: datetime | None, now: datetime) -> str:
    """Write how long ago ``moment`` was, or how far ahead it lies."""
    if moment is None:
        return "never"
    distance = now - moment
    if abs(distance) < timedelta(seconds=5):
        return "now"
    return f"{span(distance)} ago" if distance > timedelta(0) else f"in {span(-distance)}"


def span(duration: timedelta) -> str:
    """Write a duration with its largest unit."""
    seconds = int(duration.total_seconds())
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
