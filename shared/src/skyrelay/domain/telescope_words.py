"""The words in which people are told what a telescope is doing."""

from __future__ import annotations

from skyrelay.domain.states import Reach, TelescopeState

TELESCOPE_WORDS = {
    TelescopeState.UNKNOWN: "Not asked yet",
    TelescopeState.READY: "Idle, free to stack",
    TelescopeState.OBSERVING: "Observing",
    TelescopeState.STACKING: "Stacking",
    TelescopeState.UNREACHABLE: "Asleep or out of reach",
    TelescopeState.KEY_MISSING: "Wants a key that we do not have",
    TelescopeState.KEY_REFUSED: "Refuses our key",
    TelescopeState.BUSY_ELSEWHERE: "Busy with somebody else",
    TelescopeState.FULL: "Its storage is full",
    TelescopeState.CLOCK_WRONG: "Its clock is wrong",
}
# What "away" looks like from here. No power and no Wi-Fi look the same, so neither is claimed alone.
REACH_WORDS = {
    Reach.ABSENT: "Switched off or out of the Wi-Fi",
    Reach.SILENT: "Asleep, off or out of the Wi-Fi",
    Reach.BROKE_OFF: "Fell silent: Wi-Fi weak or gone",
    Reach.REFUSED: "On, but its program does not run",
    Reach.PROGRAM_SILENT: "On, but its program says nothing",
    Reach.NO_SUCH_NAME: "Its name gives no address",
    Reach.NO_NETWORK: "This server has no network",
    Reach.STRANGER: "Something else is at its address",
}


def words_of(state: TelescopeState, reach: Reach | None) -> str:
    """Say in a few words what a telescope is doing; of one that is away, how."""
    if state is TelescopeState.UNREACHABLE and reach is not None:
        return REACH_WORDS.get(reach, TELESCOPE_WORDS[state])
    return TELESCOPE_WORDS[state]
