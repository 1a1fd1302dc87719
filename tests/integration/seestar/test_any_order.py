"""Whatever is asked of a telescope and whatever befalls it, in any order: nothing is stacked twice or lost.

Hypothesis plays commands and faults against the real client and the simulated telescope, over sockets.
The short play is part of the tests. ``TESTS_LONG_PLAY=examples`` makes it that many examples long.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from skyrelay.domain.states import TelescopeState
from skyrelay.errors import SkyrelayError
from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.telescope import JournalEntry, KeyPair, SimulatedTelescope, SmbBackend, TelescopeSpec
from skyrelay_simulators.telescope.conduct import assert_each_stacked_once, assert_good_conduct
from skyrelay_simulators.telescope.faults import (
    CancelStack,
    CloseShare,
    CutDownload,
    Drop,
    DropReply,
    FailStack,
    Fault,
    Full,
    Garbage,
    HideFolders,
    IdleClose,
    Latency,
    LoseRename,
    LoseReply,
    MergePackets,
    MixListings,
    Observe,
    OtherFirmware,
    Reboot,
    Refuse,
    RefuseKey,
    RefuseRename,
    SlowReply,
    SplitPackets,
    StallDownload,
    StallStack,
    SwitchedOff,
    UseFewer,
)
from support.block_worker import BlockWorker, WantedBlock

STEPS = 40
EXAMPLES = int(os.environ.get("TESTS_LONG_PLAY", "8"))
REPLY = timedelta(seconds=0.5)  # simulated telescopes answer in milliseconds: what takes longer is lost
PATIENCE = timedelta(seconds=1)
ATTEMPTS = 6  # in peace each block is done with the first or, where one is left to settle, the second
FIRMWARES = [2706, 2732, 2775, 2889]
TARGETS = {"M 81": (9, 8, 7, 6), "M 82": (5, 4, 3, 2)}  # frames of each block; the first are two pages
_EVENING = datetime(2026, 2, 27, 21, 0, 10, tzinfo=UTC)

pytestmark = pytest.mark.timeout(3600)


@dataclass(slots=True)
class Garden:
    """The one telescope that all examples play with, its frames, and how often what was done."""

    telescope: SimulatedTelescope
    key_path: Path
    frames: dict[str, dict[str, bytes]]
    downloads: Path
    done: Counter[str] = field(default_factory=Counter)

    @property
    def works(self) -> Path:
        """The telescope's folder of targets."""
        return self.telescope.emmc.root / "MyWorks"

    def make_new(self, firmware: int) -> None:
        """Be as if nothing had happened yet."""
        self.make_peace(firmware)
        self.telescope.device.batch_stack.forget()
        self.telescope.journal.clear()
        for folder in self.works.iterdir():
            shutil.rmtree(folder)
        for folder_name, frames in self.frames.items():
            folder = self.telescope.emmc.target_folder(folder_name)
            for name, content in frames.items():
                (folder / name).write_bytes(content)

    def make_peace(self, firmware: int) -> None:
        """Let all faults and observations end."""
        self.telescope.switch_off()
        self.telescope.switch_on(OtherFirmware(number=firmware))
        self.telescope.finish_observing()

    def client(self) -> Telescope:
        """Make a client that loses patience soon."""
        at = self.telescope.endpoint
        address = TelescopeAddress(
            at.host, at.rpc_port, at.http_port, at.smb_port, key_path=self.key_path, name="garden"
        )
        return Telescope(address, connect=REPLY, reply=REPLY)


@pytest.fixture
def garden(keys: KeyPair, key_path: Path, tmp_path: Path) -> Iterator[Garden]:
    """Give a telescope that wants a key, and stacks at once."""
    spec = TelescopeSpec(
        serial="1d3fe189",
        root=tmp_path / "played",
        wants_key=True,
        public_key_pem=keys.public_pem,
        stack_seconds=0.0,
        smb_backend=SmbBackend.AUTO,
        event_interval_s=0.2,
    )
    frames = {f"{target}_sub": frames_of(spec, target, sum(blocks)) for target, blocks in TARGETS.items()}
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with SimulatedTelescope(spec) as telescope:
        yield Garden(telescope, key_path, frames, downloads)


def frames_of(spec: TelescopeSpec, target: str, count: int) -> dict[str, bytes]:
    """Make small frames of a target, by name."""
    return dict(frame_of(spec, target, number) for number in range(count))


def frame_of(spec: TelescopeSpec, target: str, number: int) -> tuple[str, bytes]:
    started = _EVENING + timedelta(seconds=23.6 * number)
    where: dict[str, Any] = {"ra_deg": 148.9, "dec_deg": 69.1}
    facts = LightFrameFacts(spec=spec, target=target, started=started, exposure_s=20.0, filter="LP", **where)
    pixels = np.random.default_rng(number).integers(900, 1100, (24, 32), dtype=np.uint16)
    saved = started + timedelta(seconds=23.4)
    return f"Light_{target}_20.0s_LP_{saved:%Y%m%d-%H%M%S}.fit", frame_bytes(facts, pixels)


def blocks_of(garden: Garden) -> list[WantedBlock]:
    """Cut each target's frames into its blocks."""
    blocks = []
    for target, counts in TARGETS.items():
        names = sorted(garden.frames[f"{target}_sub"])
        for count in counts:
            block, names = names[:count], names[count:]
            final_name = f"CrowdSky_{count}_{target}_20.0s_LP_20260227.{count:02d}_HP000001.fit"
            blocks.append(WantedBlock(f"{target}_sub", frozenset(block), final_name))
    return blocks


# --- what can be drawn ---

_SOON = st.sampled_from([0, 0, 0, 1, 2])
_METHODS = st.sampled_from(
    [
        *([], ["start_batch_stack"], ["set_batch_stack_setting"], ["clear_batch_stack", "clear_app_state"]),
        *(["iscope_get_app_state"], ["get_batch_stack_setting"], ["get_img_file_page_name"]),
        *(["verify_client"], ["get_view_state"], ["stop_batch_stack"]),
    ]
)
_CHANGES = st.sampled_from([[], ["start_batch_stack"], ["set_batch_stack_setting"]])


def incident(
    fault: type[Fault], *, times: int = 2, **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[Fault]:
    return st.builds(fault, times=st.integers(1, times), after=_SOON, **fields)


ON_COMMANDS = st.one_of(
    incident(Drop, methods=_METHODS),
    incident(DropReply, methods=_METHODS),
    incident(LoseReply, times=1, methods=_METHODS),
    incident(SlowReply, seconds=st.just(0.05), methods=_METHODS),
    incident(Garbage, times=5, kind=st.sampled_from(["text", "utf8", "unknown_id", "huge"])),
    incident(SplitPackets, times=5, pieces=st.integers(2, 9)),
    incident(MergePackets, times=5),
    incident(Refuse, methods=_METHODS, code=st.sampled_from([203, 207])),
    incident(Reboot, times=1, methods=_METHODS, seconds=st.just(0.02)),
)
ON_STACKS = st.one_of(
    incident(Observe, times=1, methods=_CHANGES),
    incident(FailStack, code=st.sampled_from([263, 264, 267, 514])),
    incident(CancelStack, share=st.sampled_from([0.0, 0.5, 1.0])),
    incident(StallStack, times=1),
    incident(UseFewer),
    incident(RefuseRename),
    incident(LoseRename),
)
ON_DOWNLOADS = st.one_of(
    incident(CutDownload, share=st.floats(0, 0.99)),
    incident(StallDownload, times=1, share=st.floats(0, 0.99)),
)
ON_LISTINGS = st.one_of(incident(MixListings), ON_COMMANDS)
AT_ODDS = st.one_of(
    *(
        st.builds(kind, odds=st.floats(0.02, 0.3), times=st.integers(1, 4))
        for kind in (Drop, DropReply, Garbage, MixListings, RefuseRename, CutDownload)
    )
)
CONDITIONS: st.SearchStrategy[Fault] = st.one_of(
    st.just(CloseShare()),
    st.just(SwitchedOff(silent=False)),
    st.just(RefuseKey()),
    st.just(Full(free_mb=1)),
    st.just(HideFolders(folders=frozenset({"M 81_sub", "M 82"}))),
    st.just(IdleClose(seconds=0.1)),
    st.just(Latency(seconds=0.005)),
)
FOLDERS = st.sampled_from([f"{target}_sub" for target in TARGETS])
BLOCKS = st.integers(0, sum(map(len, TARGETS.values())) - 1)


def some(*faults: st.SearchStrategy[Fault]) -> st.SearchStrategy[list[Fault]]:
    """Draw what befalls the telescope in the midst of one thing that is asked of it."""
    return st.lists(st.one_of(*faults), max_size=3)


class AnyOrder(RuleBasedStateMachine):
    """Commands of one worker, faults of one telescope."""

    def __init__(self, garden: Garden) -> None:
        super().__init__()
        self.garden = garden
        self.telescope = garden.telescope
        self.firmware = FIRMWARES[-1]
        self.client = garden.client()
        self.blocks: list[WantedBlock] = []
        self.worker = BlockWorker(self.client, self.blocks, PATIENCE)

    @initialize(firmware=st.sampled_from(FIRMWARES), seed=st.integers(0, 1000))
    def begin(self, firmware: int, seed: int) -> None:
        """Begin with frames, without stacks."""
        self.firmware = firmware
        self.telescope.faults.seed(seed)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Put away what was done."""
        self.garden.make_new(self.firmware)
        self.blocks[:] = blocks_of(self.garden)
        self.worker.errors.clear()

    # What befalls the telescope

    @rule(fault=AT_ODDS)
    def something_may_happen(self, fault: Fault) -> None:
        """Switch an incident on whose dice decide."""
        self._befall(fault)

    @rule(fault=CONDITIONS)
    def something_is_so(self, fault: Fault) -> None:
        """Switch a condition on."""
        self._befall(fault)

    def _befall(self, *faults: Fault) -> None:
        self.garden.done["faults switched on"] += len(faults)
        self.telescope.switch_on(*faults)

    @rule()
    def all_is_well_again(self) -> None:
        """Switch all off."""
        self.garden.make_peace(self.firmware)

    @rule()
    def somebody_observes(self) -> None:
        """Begin to observe from the phone."""
        self.telescope.observe("M 31")

    @rule()
    def nobody_observes(self) -> None:
        """End the observation."""
        self.telescope.finish_observing()

    @rule()
    def it_reboots(self) -> None:
        """Reboot now."""
        self.telescope.reboot()

    @rule()
    def connections_drop(self) -> None:
        """Drop all connections now."""
        self.telescope.drop_connections()

    # What the client is asked for

    @rule(number=BLOCKS, amid=some(ON_COMMANDS, ON_STACKS))
    def stack_a_block(self, number: int, amid: list[Fault]) -> None:
        """Bring a block as far as it goes."""
        self._befall(*amid)
        self.garden.done["attempts at a block"] += 1
        self.worker.attempt(self.blocks[number])

    @rule(amid=st.lists(st.one_of(ON_STACKS, ON_COMMANDS), min_size=2, max_size=8))
    def work_through_the_list(self, amid: list[Fault]) -> None:
        """Bring block after block as far as it goes, with one more fault each, as the stacker does."""
        for block, fault in zip(self.blocks, amid, strict=False):
            self._befall(fault)
            self.garden.done["attempts at a block"] += 1
            self.worker.attempt(block)

    @rule()
    def a_new_night_begins(self) -> None:
        """Judge a night that is done and put it away; the next one has the same frames."""
        if all(block.named for block in self.blocks):
            self._end()
            self.begin_anew()

    @rule(folder=FOLDERS, amid=some(ON_LISTINGS), by_rpc=st.booleans())
    def list_a_folder(self, folder: str, amid: list[Fault], by_rpc: bool) -> None:
        """List frames: all of them or an error, never a part or another's."""
        self._befall(*amid, *([CloseShare()] if by_rpc else []))
        self._listed(folder)
        self.telescope.switch_off(CloseShare)

    @rule()
    def list_two_folders_at_once(self) -> None:
        """List from two threads: the client has one cursor to share."""
        self._befall(CloseShare())
        with ThreadPoolExecutor(2) as threads:
            for listing in [threads.submit(self._listed, f"{target}_sub") for target in TARGETS]:
                listing.result()
        self.telescope.switch_off(CloseShare)

    def _listed(self, folder: str) -> None:
        try:
            names = self.client.list_folder(folder).names
        except SkyrelayError:
            self.garden.done["listings that failed"] += 1
            return
        self.garden.done["listings"] += 1
        assert names == self.garden.frames[folder].keys()

    @rule(folder=FOLDERS, number=st.integers(0, 5), amid=some(ON_DOWNLOADS))
    def download_a_frame(self, folder: str, number: int, amid: list[Fault]) -> None:
        """Fetch a frame: every byte is right, or it does not take its name."""
        self._befall(*amid)
        name, content = sorted(self.garden.frames[folder].items())[number]
        to = self.garden.downloads / name
        to.unlink(missing_ok=True)
        try:
            self.client.download(folder, name, to)
        except SkyrelayError:
            self.garden.done["downloads that failed"] += 1
            assert not to.exists()
            return
        self.garden.done["downloads"] += 1
        assert to.read_bytes() == content

    @rule()
    def ask_for_its_state(self) -> None:
        """Ask what it does: there is always an answer."""
        assert self.client.state().state in set(TelescopeState)

    def teardown(self) -> None:
        """In the end there is peace, and each block is stacked and named once."""
        try:
            self._end()
        except AssertionError as error:
            error.add_note("\n".join(map(line_of, self.telescope.journal.entries()[-600:])))
            raise
        finally:
            self.client.close()

    def _end(self) -> None:
        self.garden.make_peace(self.firmware)
        for _ in range(ATTEMPTS):
            for block in self.blocks:
                self.worker.attempt(block)
        self.garden.done.update(f"attempts ended by {type(error).__name__}" for error in self.worker.errors)
        journal = self.telescope.journal.entries()
        happened = [entry for entry in journal if entry.channel == "fault"]
        self.garden.done.update(f"fault {entry.method} happened" for entry in happened)
        self.garden.done.update(f"stacks: {entry.method}" for entry in journal if entry.channel == "stack")
        self.garden.done["things asked of the telescope"] += len(journal)
        assert [block.named for block in self.blocks] == [True] * len(self.blocks), self.worker.errors[-5:]
        assert_each_stacked_once(journal, [block.names for block in self.blocks])
        assert_good_conduct(journal)
        assert stacks_on(self.garden) == sorted(block.final_name for block in self.blocks)


def line_of(entry: JournalEntry) -> str:
    """Write an entry of the journal for somebody who looks for what went wrong."""
    return (
        f"{entry.number} {entry.at:%H:%M:%S.%f} {entry.channel} {entry.method} {entry.code:d} {entry.params}"
    )


def stacks_on(garden: Garden) -> list[str]:
    """Name the stacks that lie on the telescope."""
    return sorted(path.name for target in TARGETS for path in (garden.works / target).glob("*.fit"))


def test_in_any_order_each_block_is_stacked_once(garden: Garden, capsys: pytest.CaptureFixture[str]) -> None:
    play = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="TESTS_LONG_PLAY" not in os.environ,
        database=None,
        phases=[Phase.generate],  # shrinking would play for minutes; the journal tells more than fewer steps
    )
    run_state_machine_as_test(lambda: AnyOrder(garden), settings=play)
    if "TESTS_LONG_PLAY" in os.environ:
        with capsys.disabled():
            print(*(f"\n{count:8d}  {what}" for what, count in sorted(garden.done.items())))  # noqa: T201 - asked for
