"""Upload a file, and print how many bytes Python's memory grew by at most meanwhile.

Run by a test: ``upload_and_measure.py BASE_URL FILE``, the password in ``CROWDSKY_PASSWORD``.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import StackUpload

if __name__ == "__main__":
    client = CrowdSkyClient(sys.argv[1], "alice", os.environ["CROWDSKY_PASSWORD"])
    client.list_stacks()  # so that what is loaded once is not counted
    tracemalloc.start()
    client.upload_stack(StackUpload(Path(sys.argv[2]), "big.fit"))
    sys.stdout.write(str(tracemalloc.get_traced_memory()[1]))
