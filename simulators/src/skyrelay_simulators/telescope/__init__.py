"""A stand-in for a Seestar telescope over its real protocols. Importing it starts nothing."""

from skyrelay_simulators.telescope.clock import Clock, FastClock, SystemClock
from skyrelay_simulators.telescope.firmware import Firmware
from skyrelay_simulators.telescope.journal import Journal, JournalEntry
from skyrelay_simulators.telescope.keys import KeyPair, generate_key_pair
from skyrelay_simulators.telescope.simulated import SimulatedTelescope
from skyrelay_simulators.telescope.spec import Endpoint, SmbBackend, TelescopeSpec

__all__ = [
    "Clock",
    "Endpoint",
    "FastClock",
    "Firmware",
    "Journal",
    "JournalEntry",
    "KeyPair",
    "SimulatedTelescope",
    "SmbBackend",
    "SystemClock",
    "TelescopeSpec",
    "generate_key_pair",
]
