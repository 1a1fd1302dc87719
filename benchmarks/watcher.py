"""The watcher beside a plain one: watchdog, a timer thread a file, and astropy's ``fits.open``.

Each subject is a process of its own that is told of files by the same writer; what it costs is read from
the kernel. ``--files N`` and ``--frames N`` make the bursts smaller.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Goal, Report, options_of, repeats_of

from support.fits_files import fits_bytes
from support.redis_server import RedisServer
from support.service_process import ServiceProcess

DEBOUNCE_S = 2.0  # the seed's default
SINGLE_DEBOUNCE_S = 0.5
SINGLES = 40
REAL_SHAPE = (1080, 1920)  # a sub-frame of the S50: 16 bits a pixel
GIVE_UP_S = 60.0  # with no further event for that long, the rest is lost
SUBJECTS = ("reference", "class", "service")
NAMES = {"reference": "plain reference", "class": "ImageWatcher", "service": "watcher service"}


@dataclass
class Outcome:
    """What one subject did with one burst."""

    lost: int
    tail_s: float
    threads: int
    rss_mb: float
    cpu_s: float


Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Run the scenarios, print the tables."""
    options = options_of(
        __doc__,
        ("--files", {"type": int}),
        ("--frames", {"type": int}),
        ("--listed", {"type": int}),
        ("--subject", {"choices": SUBJECTS}),
        ("--folder", {"type": Path}),
        ("--delay", {"type": float, "default": DEBOUNCE_S}),
    )
    if options.subject:
        be_subject(options.subject, options.folder, options.delay)
        return
    usual = (50, 5, 1_000, 3) if options.quick else (2_000, 200, 50_000, SINGLES)
    files, frames, listed = (
        asked or number
        for asked, number in zip((options.files, options.frames, options.listed), usual, strict=False)
    )
    report, repeats = Report("watcher", options), repeats_of(options, 1)
    real = fits_bytes(bytes(2 * REAL_SHAPE[0] * REAL_SHAPE[1]), NAXIS1=REAL_SHAPE[1], NAXIS2=REAL_SHAPE[0])
    for title, count, content in (
        (f"{files} small files at once", files, fits_bytes()),
        (f"{frames} real-size frames at once", frames, real),
    ):
        rounds = [{name: burst(name, count, content) for name in SUBJECTS} for _ in range(repeats)]
        report_bursts(report, title, rounds)
    report_latencies(report, {name: latencies(name, usual[3]) for name in SUBJECTS})
    report_snapshots(report, listed, [snapshot(listed) for _ in range(repeats)])
    report.close()


# --- the subjects, each in a process of its own


def be_subject(subject: str, folder: Path, delay_s: float) -> None:
    """Watch until told to stop; say each path with its time, and at last what it cost."""

    def tell(image: dict[str, Any]) -> None:
        assert image["header"]
        sys.stdout.write(f"{time.time()}\t{image['path']}\n")
        sys.stdout.flush()

    start = start_reference if subject == "reference" else start_class
    stop = start(folder, tell, delay_s)
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    done.wait()
    stop()


def start_class(folder: Path, tell: Tell, delay_s: float) -> Callable[[], None]:
    """Watch with ours."""
    from skyrelay_watcher import ImageWatcher

    watcher = ImageWatcher(folder, tell, delay_s)
    watcher.start()
    return watcher.stop


def start_reference(folder: Path, tell: Tell, delay_s: float) -> Callable[[], None]:
    """Watch as the seed describes it: created and moved events, a timer a file, `fits.open`."""
    from astropy.io import fits
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    timers: dict[str, threading.Timer] = {}
    lock = threading.Lock()

    def fire(path: str) -> None:
        with lock:
            timers.pop(path, None)
        with fits.open(path) as hdus:
            cards = hdus[0].header.items()
            header = {key: value for key, value in cards if key not in {"COMMENT", "HISTORY", ""}}
        tell({"path": path, "header": header, "size_kb": Path(path).stat().st_size / 1024})

    class Handler(FileSystemEventHandler):
        def on_created(self, event: FileSystemEvent) -> None:
            self.schedule(os.fsdecode(event.src_path))

        def on_moved(self, event: FileSystemEvent) -> None:
            self.schedule(os.fsdecode(event.dest_path))

        def schedule(self, path: str) -> None:
            if not path.lower().endswith((".fit", ".fits")):
                return
            with lock:
                if path in timers:
                    timers[path].cancel()
                timers[path] = threading.Timer(delay_s, fire, (path,))
                timers[path].start()

    observer = Observer()
    observer.schedule(Handler(), str(folder))
    observer.start()
    return observer.stop


class Subject:
    """One running subject, seen from outside."""

    def __init__(self, place: Path, delay_s: float) -> None:
        self.folder = place / "photos"
        self.folder.mkdir()
        self.delay_s = delay_s
        self.told: dict[str, float] = {}
        self.pid = 0
        self.threads = 0
        self.rss_kb = 0
        self.cpu_s = 0.0
        self._sampling = threading.Event()

    def wait_for(self, count: int) -> None:
        """Wait until so many files were told of, or nothing comes any more."""
        seen, since_s = -1, time.monotonic()
        while len(self.told) < count and time.monotonic() - since_s < GIVE_UP_S:
            if len(self.told) != seen:
                seen, since_s = len(self.told), time.monotonic()
            time.sleep(0.005)

    def sample(self) -> None:
        """Read the kernel's figures again and again."""
        while not self._sampling.wait(0.05):
            self.read_figures()

    def read_figures(self) -> None:
        """Read threads, peak memory and processor time."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
            stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        figures = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        self.threads = max(self.threads, int(figures["Threads"]))
        self.rss_kb = int(figures["VmHWM"].split()[0])
        self.cpu_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Sample while the context lasts; processor time counts from here."""
        self.read_figures()
        before_s = self.cpu_s
        thread = threading.Thread(target=self.sample, daemon=True)
        thread.start()
        yield
        self._sampling.set()
        thread.join()
        self.read_figures()
        self.cpu_s -= before_s


@contextmanager
def running(name: str, delay_s: float) -> Iterator[Subject]:
    """Start a subject on a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as place:
        subject = Subject(Path(place), delay_s)
        with service(subject, Path(place)) if name == "service" else script(subject, name):
            yield subject


@contextmanager
def script(subject: Subject, name: str) -> Iterator[None]:
    """Run this file as a subject."""
    command = [sys.executable, __file__, "--subject", name, "--folder", str(subject.folder)]
    process = subprocess.Popen([*command, "--delay", str(subject.delay_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout
    assert output.readline() == "ready\n"
    subject.pid = process.pid

    def listen() -> None:
        for line in output:
            at_s, _, path = line.rstrip("\n").partition("\t")
            subject.told.setdefault(Path(path).name, float(at_s))

    thread = threading.Thread(target=listen)
    thread.start()
    yield
    process.terminate()
    thread.join()
    process.wait()


@contextmanager
def service(subject: Subject, place: Path) -> Iterator[None]:
    """Run the watcher's process on a Redis of its own, and read the stream."""
    from skyrelay.queue.beats import read_beats
    from skyrelay.queue.connection import connect_redis
    from skyrelay.queue.frame_stream import STREAM

    server = RedisServer(place)
    server.start()
    settings = {
        "setup": "done",
        "redis_url": server.url,
        "data_dir": str(place / "data"),
        "image_watcher": {
            "enabled": True,
            "watch_path": str(subject.folder),
            "debounce_delay": subject.delay_s,
        },
    }
    stopping = threading.Event()

    def listen() -> None:
        last = "-"
        with connect_redis(server.url) as redis:
            while not stopping.wait(0.02):
                for entry_id, fields in redis.xrange(STREAM, last):
                    last = f"({entry_id}"
                    at_s = int(entry_id.partition("-")[0]) / 1000
                    subject.told.setdefault(json.loads(fields["event"])["path"], at_s)

    with ServiceProcess("watcher", place, settings) as process, connect_redis(server.url) as redis:
        while not is_watching(read_beats(redis)):
            time.sleep(0.05)
        subject.pid = process.pid
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
    server.stop()


def is_watching(beats: dict[str, Any]) -> bool:
    """Tell whether the service has begun."""
    return "watcher" in beats and beats["watcher"].detail.get("state") == "watching"


# --- what is done to them


def put(folder: Path, name: str, content: bytes) -> float:
    """Write a file as telescopes do, under another name first; give the time of the rename."""
    part = folder / f"{name}.part"
    part.write_bytes(content)
    part.rename(folder / name)
    return time.time()


def burst(name: str, count: int, content: bytes) -> Outcome:
    """Write many files as fast as the disk takes them."""
    with running(name, DEBOUNCE_S) as subject:
        with subject.sampled():
            last_s = [put(subject.folder, f"{number:05}.fit", content) for number in range(count)][-1]
            subject.wait_for(count)
        tail_s = max(subject.told.values(), default=0.0) - last_s - DEBOUNCE_S
        return Outcome(
            count - len(subject.told), tail_s, subject.threads, subject.rss_kb / 1024, subject.cpu_s
        )


def latencies(name: str, singles: int) -> list[float]:
    """Write one file after the other; give the seconds beyond the debounce of each."""
    with running(name, SINGLE_DEBOUNCE_S) as subject:
        found = []
        for number in range(singles):
            at_s = put(subject.folder, f"{number}.fit", fits_bytes())
            subject.wait_for(number + 1)
            found.append(subject.told[f"{number}.fit"] - at_s - SINGLE_DEBOUNCE_S)
        return found


def snapshot(count: int) -> dict[str, float]:
    """Compare listings of many files that are all known; give processor seconds a pass."""
    from datetime import UTC, datetime

    from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff

    from skyrelay_watcher.folder_marks import SETTLED_AFTER_S, FolderMarks
    from skyrelay_watcher.folder_scan import FolderScan
    from skyrelay_watcher.local_place import LocalSource
    from skyrelay_watcher.spool import FileKey, Sighting, Spool

    place = Path(tempfile.mkdtemp(prefix="skyrelay-bench-"))
    try:
        folders = [place / "photos" / f"target {number}_sub" for number in range(25)]
        for folder in folders:
            folder.mkdir(parents=True)
        for number in range(count):
            (folders[number % 25] / f"{number}.fit").touch()
        clock_s = [0.0]
        marks = FolderMarks(lambda: clock_s[0])
        source = LocalSource(place / "photos", "snapshot")
        found = source.find()
        assert found is not None
        with Spool(place / "spool.db") as spool:
            offered: list[tuple[str, Any]] = []

            def scan() -> FolderScan:
                return FolderScan(
                    "photos", found, recursive=True, journal=spool, epoch="e", marks=marks,
                    offer=lambda path, stamp: offered.append((path, stamp)), may_be_emptied=False,
                    now=datetime.now(UTC),
                )  # fmt: skip

            run(scan().everything())
            keys = [path[len(found.top) + 1 :].rpartition("/") for path, _stamp in offered]
            spool.add(
                Sighting(FileKey("photos", folder, name), stamp, None, "{}")
                for (folder, _slash, name), (_path, stamp) in zip(keys, offered, strict=True)
            )
            while rows := spool.oldest(5_000):
                spool.mark_published(rows, "e")
            offered.clear()
            figures = {"everything listed": cpu_of(lambda: run(scan().everything()))}
            clock_s[0] += 2 * SETTLED_AFTER_S
            run(scan().changes())
            figures["nothing changed"] = cpu_of(lambda: run(scan().changes()))
            (folders[0] / "new.fit").touch()
            figures["one folder changed"] = cpu_of(lambda: run(scan().changes()))
            assert len(offered) == 1
        before = DirectorySnapshot(str(place / "photos"))
        figures["reference"] = cpu_of(
            lambda: DirectorySnapshotDiff(before, DirectorySnapshot(str(place / "photos")))
        )
        return figures
    finally:
        shutil.rmtree(place)


def run(steps: Iterator[None]) -> None:
    """Go through a scan."""
    for _step in steps:
        pass


def cpu_of(work: Callable[[], object]) -> float:
    """Give the processor seconds that this process needs for ``work``."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- the figures


def report_bursts(report: Report, title: str, rounds: list[dict[str, Outcome]]) -> None:
    """Report what each of ours did with a burst, beside the reference."""
    for name in SUBJECTS[1:]:
        for field, unit, goal in (
            ("lost", "events lost", Goal(most=0, of="ours")),
            ("tail_s", "s of tail", Goal(most=0.5, of="ours")),
            ("threads", "threads at most", None),
            ("rss_mb", "MB at most", None),
            ("cpu_s", "processor s", Goal(most=0.2)),
        ):
            ours, reference = (
                [getattr(outcomes[each], field) for outcomes in rounds] for each in (name, "reference")
            )
            report.add(f"{title}: {NAMES[name]}", ours, reference, unit=unit, goal=goal)


def report_latencies(report: Report, found: dict[str, list[float]]) -> None:
    """Report how late single files are told of."""
    in_ms = {name: [1000 * each for each in seconds] for name, seconds in found.items()}
    for name in SUBJECTS[1:]:
        what, goal = f"one file, beyond the debounce: {NAMES[name]}", Goal(most=20, of="ours")
        report.add(what, in_ms[name], in_ms["reference"], unit="ms", goal=goal)


def report_snapshots(report: Report, count: int, rounds: list[dict[str, float]]) -> None:
    """Report what a pass of the snapshot loop costs."""
    goals = {"everything listed": Goal(most=1, of="ours")}
    reference = [figures["reference"] for figures in rounds]
    for name in (each for each in rounds[0] if each != "reference"):
        what = f"one pass over {count:,} known files, {name}; beside watchdog's snapshots"
        ours = [figures[name] for figures in rounds]
        report.add(what, ours, reference, unit="processor s", goal=goals.get(name))


if __name__ == "__main__":
    main()
