"""Upload a stack over loopback: our client beside ``requests.post(files=…)``.

Each upload runs in a process of its own, which reads its peak memory from the kernel before and after; the
server takes the body and throws it away. Ours also leaves the coordinates out, and streams.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import Goal, Report, options_of, repeats_of

from support.fits_files import fits_bytes

_ANSWER = json.dumps(
    {"ok": True, "job_id": 1, "chunk_key": "20250327.05_HP033810", "status": "queued"}
).encode()


class Sink(BaseHTTPRequestHandler):
    """Takes a body and throws it away."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as CrowdSky does."""
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(_ANSWER)))
        self.end_headers()
        self.wfile.write(_ANSWER)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


_OURS = """
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import StackUpload
from pathlib import Path
client = CrowdSkyClient(url, "alice", "s3cret")
def send(): client.upload_stack(StackUpload(Path(file), "stack.fit", n_frames_input=2))
"""
_PLAIN = """
import requests
def send():
    with open(file, "rb") as opened:
        requests.post(url + "/api/upload_stack.php", files={"file": opened}, auth=("alice", "s3cret")).json()
"""
_MEASURED = """
import json, sys, time
url, file = sys.argv[1:]
{imports}
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # the peak begins anew, at what is in use now
idle, began = peak(), time.perf_counter()
send()
print(json.dumps([time.perf_counter() - began, peak() - idle]))
"""


def measured(program: str, url: str, file: Path) -> tuple[float, float]:
    """Give seconds, and bytes of memory over idle."""
    code = _MEASURED.format(imports=program)
    ran = subprocess.run(
        [sys.executable, "-c", code, url, str(file)], capture_output=True, text=True, check=True
    )
    seconds, memory = json.loads(ran.stdout)
    return seconds, memory


def main() -> None:
    """Measure both in turn, several times."""
    options = options_of(__doc__, ("--sizes", {"type": int, "nargs": "+", "help": "MB"}))
    report = Report("upload", options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes or ([2] if options.quick else [12, 50, 200]):
            file = Path(folder) / "stack.fit"
            data = bytes(size * 1_000_000)
            file.write_bytes(fits_bytes(data, NAXIS1=len(data) // 2, NAXIS2=1, SITELAT=48.2))
            _compare(report, url, file, size, repeats_of(options, 7))
    server.shutdown()
    report.close()


def _compare(report: Report, url: str, file: Path, size: int, times: int) -> None:
    runs: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(times):  # in turn: what else the machine does falls on both
        runs["ours"].append(measured(_OURS, url, file))
        runs["plain"].append(measured(_PLAIN, url, file))
        time.sleep(0.05)
    rates = {name: [size / seconds for seconds, _ in some] for name, some in runs.items()}
    memory = {name: [held / 1e6 for _, held in some] for name, some in runs.items()}
    what = f"a stack of {size} MB, beside requests.post(files=…)"
    report.add(f"throughput: {what}", rates["ours"], rates["plain"], unit="MB/s", goal=Goal(least=0.9))
    over_idle = Goal(most=60, of="ours")
    report.add(f"peak memory over idle: {what}", memory["ours"], memory["plain"], unit="MB", goal=over_idle)


if __name__ == "__main__":
    main()
