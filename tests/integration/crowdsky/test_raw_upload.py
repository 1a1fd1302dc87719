"""Raw frames over a line that breaks: no frame twice in a stack, no stack twice on the server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from skyrelay.crowdsky.bulk_upload import Outcome
from skyrelay.crowdsky.client import MAX_ANSWER_BYTES, CrowdSkyClient
from skyrelay.crowdsky.patience import Patience
from skyrelay.crowdsky.raw_frames import RawGroup, find_raw_frames, group_raw_frames
from skyrelay.crowdsky.raw_upload import RawEntry, RawUpload
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.service_books import ServiceBooks
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.outbox.raw_route import frames_for_raw, send_raw
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import write_fits
from support.recorded_night import RecordedNight

PASSWORD = "s3cret-päss"
KEY = "20250327.05_HP033810"
Send = Callable[..., RawEntry]


@pytest.fixture
def group(tmp_path: Path) -> RawGroup:
    folder = tmp_path / "M 94_sub"
    folder.mkdir()
    for second in (0, 11, 22):
        write_fits(folder / f"Light_{second}.fit", TOTALEXP=None, DATE_OBS=f"2025-03-27T01:20:{second:02d}")
    frames, _ = find_raw_frames([folder])
    ((found,), _) = group_raw_frames(frames)
    return found


@pytest.fixture
def send(server: SimulatedCrowdSky, client: CrowdSkyClient, group: RawGroup, tmp_path: Path) -> Send:
    now = utc_now()

    def run(
        later: timedelta = timedelta(),
        *,
        overwrite: bool = False,
        pause: Callable[[float], None] = lambda _: None,
    ) -> RawEntry:
        upload = RawUpload(
            client=client,
            ledger=SentLedger(tmp_path / "data", server.base_url, "alice"),
            scrub_location=True,
            overwrite=overwrite,
            look_again=timedelta(),
            listed_by=timedelta(hours=24),
            patience=Patience(pause=pause),
            clock=lambda: now + later,
        )
        (entry,) = upload.carry_out(upload.plan([group]))
        return entry

    return run


def test_a_group_becomes_one_stack_and_is_found_again(server: SimulatedCrowdSky, send: Send) -> None:
    first, again = send(), send()

    assert (first.outcome, list(first.chunks), first.done) == (Outcome.UPLOADED, [KEY], True)
    assert (again.outcome, again.done) == (Outcome.THERE, True)
    assert [stack.n_frames_input for stack in server.uploads] == [3]


def test_a_frame_whose_answer_was_lost_is_not_stacked_twice(server: SimulatedCrowdSky, send: Send) -> None:
    server.show("raw_file", Fault(mode="headers", times=1), Fault(mode="drop-after-store", times=1))

    assert send().outcome is Outcome.UPLOADED
    tokens = [entry.fields["session_token"] for entry in server.requests("raw_file")]
    assert (len(tokens), len(set(tokens))) == (5, 2)
    assert [entry.fields["session_token"] for entry in server.requests("raw_finalize")] == [tokens[-1]]


def test_a_session_that_expired_is_begun_again(server: SimulatedCrowdSky, send: Send) -> None:
    server.show("raw_file", Fault(mode="headers", times=1), Fault(mode="status", status=404, times=1))

    assert send().outcome is Outcome.UPLOADED
    assert [stack.n_frames_input for stack in server.uploads] == [3]


def test_a_busy_server_gets_the_frame_later(server: SimulatedCrowdSky, send: Send) -> None:
    server.show("raw_file", Fault(mode="status", status=503, times=2))

    assert send().outcome is Outcome.UPLOADED
    assert len(server.requests("raw_start")) == 1


PROXYS_ANSWERS = {
    "502": Fault(mode="status", status=502, times=1),
    "html": Fault(mode="html-200", times=1),
    "endless": Fault(mode="status", status=200, body="x" * (MAX_ANSWER_BYTES + 1), times=1),
}
BEFORE_THE_END = [
    *((begin, PROXYS_ANSWERS[name]) for begin in ("raw_start", "raw_file") for name in ("502", "html")),
    *((end, Fault(mode="status", status=401)) for end in ("raw_start", "raw_file", "raw_finalize")),
    ("raw_finalize", Fault(mode="error-200")),
]


@pytest.mark.parametrize(("endpoint", "fault"), BEFORE_THE_END)
def test_what_breaks_before_the_end_is_failed_and_can_be_sent_again(
    server: SimulatedCrowdSky, send: Send, endpoint: str, fault: Fault
) -> None:
    server.show(endpoint, fault)
    failed = send()
    server.show(endpoint)

    assert (failed.outcome, failed.done) == (Outcome.FAILED, False)
    assert "nothing of it was stacked" in failed.reason
    assert send().outcome is Outcome.UPLOADED
    assert len(server.uploads) == 1


def test_a_frame_that_the_server_refuses_is_named_and_the_others_go(
    server: SimulatedCrowdSky, send: Send
) -> None:
    server.show("raw_file", Fault(mode="status", status=400, body={"error": "Bad frame."}, times=1))

    entry = send()

    assert (entry.outcome, entry.done) == (Outcome.UPLOADED, False)
    assert [(each.path.name, each.reason) for each in entry.left_out] == [
        ("Light_0.fit", "upload of Light_0.fit: 400 Bad frame.")
    ]
    assert [stack.n_frames_input for stack in server.uploads] == [2]


def test_a_lost_answer_to_the_end_of_a_session_is_looked_for(server: SimulatedCrowdSky, send: Send) -> None:
    server.show("raw_finalize", Fault(mode="drop-after-store"))

    entry = send()

    assert entry.outcome is Outcome.UPLOADED
    assert "the server lists it" in entry.reason
    assert len(server.requests("my_stacks")) == 2


@pytest.mark.parametrize("answer", PROXYS_ANSWERS)
def test_an_end_that_a_proxy_answered_and_the_server_carries_out_is_found(
    server: SimulatedCrowdSky, client: CrowdSkyClient, send: Send, answer: str
) -> None:
    server.show("raw_finalize", PROXYS_ANSWERS[answer])

    def go_on(_: float) -> None:
        token = server.requests("raw_file")[0].fields["session_token"]
        if not server.uploads:
            client.finalize_raw_session(token, scrub_location=True, overwrite=False)

    entry = send(pause=go_on)

    assert (entry.outcome, entry.chunks) == (Outcome.UPLOADED, [KEY])
    assert "the server lists it" in entry.reason
    assert send().outcome is Outcome.THERE
    assert len(server.uploads) == 1


@pytest.mark.parametrize("answer", PROXYS_ANSWERS)
def test_an_end_that_a_proxy_answered_is_left_open_for_a_day(
    server: SimulatedCrowdSky, send: Send, answer: str
) -> None:
    server.show("raw_finalize", PROXYS_ANSWERS[answer])

    open_ = send()

    assert open_.outcome is Outcome.UNSURE
    assert "nothing of it was stacked" not in open_.reason
    assert "may be there all the same" in open_.reason
    assert send(timedelta(hours=23)).outcome is Outcome.UNSURE
    assert send(timedelta(hours=25)).outcome is Outcome.UPLOADED
    assert len(server.uploads) == 1


def test_it_is_looked_for_twice_and_then_left_open_for_a_day(server: SimulatedCrowdSky, send: Send) -> None:
    server.show("raw_finalize", Fault(mode="reset", after_bytes=-1, times=1))

    assert send().outcome is Outcome.UNSURE
    assert len(server.requests("my_stacks")) == 3
    assert send(timedelta(hours=23)).outcome is Outcome.UNSURE
    assert send(timedelta(hours=25)).outcome is Outcome.UPLOADED


def test_a_chunk_that_holds_another_stack_is_left_alone_unless_it_may_be_overwritten(
    server: SimulatedCrowdSky, client: CrowdSkyClient, send: Send, tmp_path: Path
) -> None:
    client.upload_stack(StackUpload(write_fits(tmp_path / "lp.fit", FILTER="LP"), "lp.fit"))

    kept = send()
    assert (kept.outcome, list(kept.skipped)) == (Outcome.FAILED, [KEY])
    assert "the chunk holds stack 1 (M 94, LP)" in kept.reason
    assert server.requests("raw_start") == []

    assert send(overwrite=True).outcome is Outcome.UPLOADED
    assert [stack.filter_name for stack in server.uploads] == ["IRCUT"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [(DeliveryState.PENDING, Outcome.OWED), (DeliveryState.ACCEPTED, Outcome.ACCEPTED)],
)
def test_what_the_services_send_raw_is_left_to_them(
    server: SimulatedCrowdSky,
    client: CrowdSkyClient,
    group: RawGroup,
    store: Store,
    tmp_path: Path,
    state: DeliveryState,
    outcome: Outcome,
) -> None:
    evening = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock, four hours from UTC
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(serial="1d3fe189"), "M 94", evening, BlockState.READY)
        frames = frames_for_raw(session, block)
        send_raw(session, block, frames, now=utc_now(), actor="stacker", reason="raw").state = state
    with ServiceBooks(f"sqlite:///{tmp_path / 'skyrelay.db'}") as books:
        upload = RawUpload(
            client=client,
            ledger=SentLedger(tmp_path / "data", server.base_url, "alice"),
            books=books,
            scrub_location=True,
            overwrite=False,
            look_again=timedelta(),
            listed_by=timedelta(hours=24),
        )
        (entry,) = upload.carry_out(upload.plan([group]))

    assert (entry.outcome, server.requests("raw_start")) == (outcome, [])


def test_a_large_frame_passes_through_little_memory(server: SimulatedCrowdSky, tmp_path: Path) -> None:
    size = 50 * 1024 * 1024
    frame = write_fits(tmp_path / "Light_big.fit", bytes(size), NAXIS1=5120, NAXIS2=5120)
    program = Path(__file__).parent / "transfer_and_measure.py"

    measured = subprocess.run(
        [sys.executable, program, "raw", server.base_url, frame],
        env=os.environ | {"CROWDSKY_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert server.requests("raw_file")[0].files[0].size == frame.stat().st_size
    assert int(measured.stdout) < size // 20
