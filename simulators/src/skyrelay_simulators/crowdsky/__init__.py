"""A CrowdSky server to try things on: a program, and a library for tests.

It speaks the real server's API over HTTP, keeps what it is given, computes chunk keys itself, and
can be told to fail.
"""

from skyrelay_simulators.crowdsky.server import SimulatedCrowdSky, serve
from skyrelay_simulators.crowdsky.storage import StoredStack
from skyrelay_simulators.web.faults import Fault
from skyrelay_simulators.web.journal import JournalEntry, ReceivedFile

__all__ = ["Fault", "JournalEntry", "ReceivedFile", "SimulatedCrowdSky", "StoredStack", "serve"]
