"""A node cloud to try things on: a program, and a library for tests.

It speaks the observation network's API over HTTP, keeps what it is given, has the real server's
manners (sources: the API's documentation, and the public server's answers), and can be told to fail.
"""

from skyrelay_simulators.cloud.records import StoredFile, StoredInterrupt, StoredMeasurement, StoredNode
from skyrelay_simulators.cloud.server import SimulatedCloud, serve
from skyrelay_simulators.web.faults import Fault
from skyrelay_simulators.web.journal import JournalEntry, ReceivedFile

__all__ = [
    "Fault",
    "JournalEntry",
    "ReceivedFile",
    "SimulatedCloud",
    "StoredFile",
    "StoredInterrupt",
    "StoredMeasurement",
    "StoredNode",
    "serve",
]
