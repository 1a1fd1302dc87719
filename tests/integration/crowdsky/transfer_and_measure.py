"""Upload or download a file, and print how many bytes Python's memory grew by at most meanwhile.

Run by tests, the password in ``CROWDSKY_PASSWORD``: ``transfer_and_measure.py upload BASE_URL FILE``,
``… raw BASE_URL FILE`` or ``… download BASE_URL CHUNK_KEY FOLDER``.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import RawFrameUpload, StackUpload


def transfer(client: CrowdSkyClient, how: str, what: list[str]) -> None:
    """Do what is measured."""
    if how == "download":
        client.download_stack(what[0], Path(what[1]))
    elif how == "raw":
        client.send_raw_frame(RawFrameUpload(client.open_raw_session(), Path(what[0]), scrub_location=True))
    else:
        client.upload_stack(StackUpload(Path(what[0]), "big.fit"))


if __name__ == "__main__":
    account = CrowdSkyClient(sys.argv[2], "alice", os.environ["CROWDSKY_PASSWORD"])
    account.list_stacks()  # so that what is loaded once is not counted
    tracemalloc.start()
    transfer(account, sys.argv[1], sys.argv[3:])
    sys.stdout.write(str(tracemalloc.get_traced_memory()[1]))
