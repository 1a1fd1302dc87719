"""The simulators are true: the public client works with them as it does with telescopes and CrowdSky.

It is unmodified, and runs in a process and an environment of its own. What it wrote on the simulated
telescope is what our own inventory then finds covered.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from skyrelay.domain.chunk import ChunkKey, chunk_of, healpix_pixel
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import CrowdSkyName
from skyrelay.queue.celery_app import build_celery
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.settings import Settings, TelescopeSettings
from skyrelay.store.engine import Store
from skyrelay.store.holding import held
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Block
from skyrelay.store.telescopes import lay_down_configured, telescope_of_name
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec
from skyrelay_simulators.telescope.conduct import completed_stacks, misconduct
from skyrelay_simulators.telescope.faults import SWITCHES, read_fault
from skyrelay_simulators.telescope.journal import JournalEntry
from skyrelay_simulators.telescope.keys import KeyPair, generate_key_pair
from skyrelay_stacker.inventory import take_inventory
from skyrelay_stacker.workshop import Workshop
from support.public_client import PublicClient, need_standard_ports, public_client

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SERIAL = "1d3fe189"
ZONE = "America/New_York"
TARGET, RA_DEG, DEC_DEG = "M 81", 148.888, 69.065
EXPOSURE_S = 20.0
# 21:20:05 in New York, 21.3 s a frame: the 28th begins at 21:29:40 and is saved at 21:30:03, so that
# its name and its DATE-OBS lie in two different quarter hours, as happens at nearly every edge.
START = datetime(2026, 2, 28, 2, 20, 5, tzinfo=UTC)
FRAMES = 80
QUARTER = timedelta(minutes=15)
BLOCKS = [datetime(2026, 2, 28, 2, minute, tzinfo=UTC) for minute in (15, 30, 45)]  # the third is too short
RAW_FRAMES = 3
ACCOUNT = {"username": "alice", "password": "s3cret"}


@dataclass(frozen=True, slots=True)
class Setting:
    """Which telescope the client meets."""

    firmware: int
    host: str
    smb: SmbBackend = SmbBackend.AUTO


SETTINGS = {
    "7.32": Setting(2732, "127.7.32.1"),
    "7.75": Setting(2775, "127.7.75.1"),
    "8.89": Setting(2889, "127.8.89.1"),
    "8.89, impacket's share": Setting(2889, "127.8.89.2", SmbBackend.IMPACKET),
}


@dataclass(frozen=True, slots=True)
class Session:
    """What the client did and what was there afterwards.

    Attributes
    ----------
    frames
        The target's light frames, by name.
    report
        What each of the client's calls gave.
    stacked
        The files in the target's folder once it had stacked.
    states
        Of the blocks, by their start, as our own inventory finds them then.
    purged, states_after_purge
        The same once it had purged.
    asked
        What the telescope was asked until then, by the client and by us.
    """

    setting: Setting
    telescope: SimulatedTelescope
    crowdsky: SimulatedCrowdSky
    frames: list[str]
    report: dict[str, Any]
    stacked: list[str]
    states: dict[datetime, str]
    purged: list[str]
    states_after_purge: dict[datetime, str]
    asked: list[JournalEntry]

    @property
    def stacks(self) -> list[str]:
        """The FITS files that the client named."""
        return [name for name in self.stacked if name.endswith(".fit")]


@pytest.fixture(scope="module")
def client() -> PublicClient:
    return public_client()


@pytest.fixture(scope="module")
def key() -> KeyPair:
    return generate_key_pair()


@pytest.fixture(scope="module", params=list(SETTINGS.values()), ids=list(SETTINGS))
def session(
    request: pytest.FixtureRequest,
    client: PublicClient,
    key: KeyPair,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Session]:
    """Let the client do all it can; the simulators live as long as the tests that look at them."""
    setting: Setting = request.param
    folder = tmp_path_factory.mktemp("proof")
    with ExitStack() as stack:
        telescope = stack.enter_context(telescope_with_a_night(setting, folder, key))
        crowdsky = stack.enter_context(
            SimulatedCrowdSky(folder / "crowdsky", {ACCOUNT["username"]: ACCOUNT["password"]})
        )
        show_every_fault_once(telescope, setting)
        yield hold_session(setting, telescope, crowdsky, client, folder)


def show_every_fault_once(telescope: SimulatedTelescope, setting: Setting) -> None:
    """Switch everything on that can go wrong, and off again: of that nothing may be left."""
    elsewhere = f"{setting.host.rpartition('.')[0]}.99"
    required: dict[str, dict[str, Any]] = {
        "hide_folders": {"folders": [f"{TARGET}_sub"]},
        "idle_close": {"seconds": 0.1},
        "latency": {"seconds": 1},
        "firmware": {"number": 2427},
        "address": {"host": elsewhere},
        "second_address": {"host": elsewhere},
    }
    telescope.switch_on(*(read_fault(switch, required.get(switch, {})) for switch in SWITCHES))
    telescope.switch_off()
    assert telescope.faults.to_json() == {"on": {}, "happened": {}}


def telescope_with_a_night(setting: Setting, folder: Path, key: KeyPair) -> SimulatedTelescope:
    """Give a telescope that wants the key, with one night's frames on it, not yet started."""
    need_standard_ports(setting.host)
    (folder / "seestar.pem").write_bytes(key.private_pem)
    telescope = SimulatedTelescope(
        TelescopeSpec(
            serial=SERIAL,
            root=folder / "emmc",
            host=setting.host,
            rpc_port=4700,
            http_port=80,
            smb_port=445,
            udp_port=4720,
            firmware_ver_int=setting.firmware,
            timezone=ZONE,
            wants_key=True,
            public_key_pem=key.public_pem,
            stack_seconds=0.2,
            smb_backend=setting.smb,
        )
    )
    targets = (
        TargetPlan(
            target=TARGET,
            ra_deg=RA_DEG,
            dec_deg=DEC_DEG,
            start=START,
            frames=FRAMES,
            exposure_s=EXPOSURE_S,
            filter="LP",
        ),
        TargetPlan(target="NGC 2403", ra_deg=114.2, dec_deg=65.6, start=START + timedelta(hours=1), frames=3),
    )
    night = make_night(
        NightPlan(targets=targets, width=64, height=96), telescope.spec, telescope.wall_clock.to_local
    )
    assert NightPlayer(night).play().written == FRAMES + 3
    return telescope


def hold_session(
    setting: Setting,
    telescope: SimulatedTelescope,
    crowdsky: SimulatedCrowdSky,
    client: PublicClient,
    folder: Path,
) -> Session:
    """Run the client, take our inventory, let the client purge, take it again."""
    my_works = telescope.spec.root / "MyWorks"
    report = drive(client, crowdsky, setting, folder, ["look", "stack", "upload", "download", "raw"])
    stacked, states = names_in(my_works / TARGET), states_of_blocks(setting, folder, "after-stacking")
    report |= drive(client, crowdsky, setting, folder, ["purge"])
    return Session(
        setting=setting,
        telescope=telescope,
        crowdsky=crowdsky,
        frames=[name for name in names_in(my_works / f"{TARGET}_sub") if name.endswith(".fit")],
        report=report,
        stacked=stacked,
        states=states,
        purged=names_in(my_works / TARGET),
        states_after_purge=states_of_blocks(setting, folder, "after-purge"),
        asked=telescope.journal.entries(),
    )


def drive(
    client: PublicClient, crowdsky: SimulatedCrowdSky, setting: Setting, folder: Path, actions: list[str]
) -> dict[str, Any]:
    """Have the client do some of its actions; it must come to their end."""
    order = {
        "host": setting.host,
        "target": TARGET,
        "crowdsky": {"base_url": crowdsky.base_url, **ACCOUNT},
        "raw_frames": RAW_FRAMES,
        "actions": actions,
    }
    run = client.run(folder, order, key_path=folder / "seestar.pem", timezone=ZONE)
    assert run.exit_code == 0, run.said
    return run.report


def states_of_blocks(setting: Setting, folder: Path, name: str) -> dict[datetime, str]:
    """Take our own inventory of the telescope into a new database; give the target's blocks' states."""
    place = folder / name
    place.mkdir()
    settings = Settings(
        data_dir=place,
        setup="done",
        telescopes=(TelescopeSettings(name="garden", host=setting.host, key_path=folder / "seestar.pem"),),
    )
    store = Store(settings.database)
    try:
        migrate(store)
        return _states(Workshop(settings, store, build_celery("redis://127.0.0.1:1"), threading.Event()))
    finally:
        store.close()


def _states(workshop: Workshop) -> dict[datetime, str]:
    configured, store = workshop.settings.telescopes, workshop.store
    with store.write() as database:
        lay_down_configured(database, configured, datetime.now(UTC))
        row = telescope_of_name(database, "garden")
        assert row is not None
        number = row.id
    address = TelescopeAddress(host=configured[0].host, key_path=configured[0].key_path, name="garden")
    with held(store, number, workshop.holder) as lease, Seestar(address) as seestar:
        assert lease is not None
        assert seestar.identify().serial == SERIAL
        take_inventory(workshop, number, seestar, lease)
    with store.read() as database:
        blocks = database.scalars(select(Block).where(Block.target == TARGET)).all()
        return {block.start_at: str(block.state) for block in blocks}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def local(moment: datetime) -> str:
    """Write a moment as the client's report does: naive, in its local zone."""
    return str(moment.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None))


def quarter_of(name: str) -> str:
    """Give the quarter hour in which a frame was saved, as the client's report writes it."""
    frame = LightFrameName.parse(name)
    assert frame is not None
    saved = frame.saved_local
    return str(saved.replace(minute=saved.minute // 15 * 15, second=0))


def crowdsky_name(name: str) -> CrowdSkyName:
    parsed = CrowdSkyName.parse(name)
    assert parsed is not None
    return parsed


# What it finds


def test_it_lists_the_targets(session: Session) -> None:
    assert session.report["look"]["targets"] == [
        {"target": TARGET, "raw_files": FRAMES, "stacked_files": 0},
        {"target": "NGC 2403", "raw_files": 3, "stacked_files": 0},
    ]


def test_it_finds_every_frame_in_its_block(session: Session) -> None:
    found = session.report["look"]["unstacked"]

    assert [block["block_start"] for block in found] == [local(start) for start in BLOCKS]
    assert sorted(name for block in found for name in block["files"]) == session.frames
    assert {block["block_start"]: block["frame_count"] for block in found} == Counter(
        quarter_of(name) for name in session.frames
    )


def test_a_dry_run_starts_nothing(session: Session) -> None:
    assert len(session.report["look"]["dry_run"]["results"]) == 2
    assert session.report["look"]["dry_run"]["blocks_stacked"] == 0


# What it stacks


def test_it_stacks_the_blocks_that_are_long_enough(session: Session) -> None:
    first, again = session.report["stack"]["first"], session.report["stack"]["again"]

    assert (first["blocks_stacked"], first["blocks_failed"], first["blocks_skipped"]) == (2, 0, 1)
    assert [
        (block["block_start"], block["status"], block["rename_failed"]) for block in first["results"]
    ] == [(local(start), "complete", False) for start in BLOCKS[:2]]
    given = Counter(quarter_of(name) for name in session.frames)
    assert [block["frames"] for block in first["results"]] == [given[local(start)] for start in BLOCKS[:2]]
    assert [block["block_start"] for block in session.report["stack"]["unstacked"]] == [local(BLOCKS[2])]
    assert (again["blocks_stacked"], again["blocks_failed"]) == (0, 0)


def test_the_stacks_have_their_names_and_pictures(session: Session) -> None:
    pixel = healpix_pixel(RA_DEG, DEC_DEG)
    names = [crowdsky_name(name) for name in session.stacks]

    assert [(name.target, name.exposure, name.filter) for name in names] == [(TARGET, "20.0s", "LP")] * 2
    assert sorted(str(name.key) for name in names) == [
        str(ChunkKey(chunk_of(start), pixel)) for start in BLOCKS[:2]
    ]
    stems = [name.removesuffix(".fit") for name in session.stacks]
    assert session.stacked == sorted(
        stem + ending for stem in stems for ending in (".fit", ".jpg", "_thn.jpg")
    )


def test_it_speaks_the_firmwares_dialect(session: Session) -> None:
    settings = [entry for entry in session.asked if entry.method == "set_batch_stack_setting"]
    names = [file["name"] for entry in settings for file in entry.params["files"]]
    full = session.setting.firmware >= 2775

    assert {name.startswith(f"MyWorks/{TARGET}_sub/Light_") for name in names} == {full}
    cleared = {int(entry.code) for entry in session.asked if entry.method == "clear_batch_stack"}
    assert cleared == ({0} if full else {103})


def test_it_authenticates_on_every_connection_before_anything_else(session: Session) -> None:
    entries = [entry for entry in session.asked if entry.channel == "rpc"]
    connections = {entry.connection for entry in entries}

    assert len(connections) == 4  # the client's two runs, our two inventories
    for connection in connections:
        asked = [(entry.method, entry.code) for entry in entries if entry.connection == connection]
        assert asked[:4] == [
            ("connect", 0),
            ("get_verify_str", 0),
            ("verify_client", 0),
            ("pi_is_verified", 0),
        ]


def test_without_the_right_key_it_is_refused(session: Session, client: PublicClient, tmp_path: Path) -> None:
    (tmp_path / "wrong.pem").write_bytes(generate_key_pair().private_pem)
    order = {
        "host": session.setting.host,
        "target": TARGET,
        "crowdsky": {"base_url": session.crowdsky.base_url, **ACCOUNT},
        "actions": ["look"],
    }

    run = client.run(tmp_path, order, key_path=tmp_path / "wrong.pem", timezone=ZONE)

    assert (run.exit_code, run.report) == (1, {})
    assert "AuthenticationError" in run.said


def test_its_conduct_is_good_by_the_telescopes_own_books(session: Session) -> None:
    assert misconduct(session.asked) == []
    assert len(completed_stacks(session.asked)) == 2


# What it uploads


def test_it_uploads_every_stack(session: Session) -> None:
    report, sent = session.report["upload"], session.crowdsky.requests("upload_stack")

    assert (report["dry_run"]["files_uploaded"], report["dry_run"]["folders_scanned"]) == (0, 2)
    assert (report["first"]["files_uploaded"], report["first"]["files_failed"]) == (2, 0)
    assert sorted(report["first"]["uploaded"]) == session.stacks
    assert {entry.status for entry in sent} == {200}
    assert [row["object_name"] for row in report["listed_of_target"]] == [TARGET] * len(report["listed"])
    assert report["listed_of_another"] == []


def test_it_sends_again_what_the_server_files_under_another_chunk(session: Session) -> None:
    """The server reads the stack's DATE-OBS, the client the block's start; a known fault of the client."""
    report = session.report["upload"]
    listed = {row["chunk_key"] for row in report["listed"]}
    known = [name for name in session.stacks if str(crowdsky_name(name).key) in listed]

    assert report["again"]["skipped"] == known
    assert sorted(report["again"]["uploaded"]) == sorted(set(session.stacks) - set(known))
    assert (len(known), listed) == (1, {str(crowdsky_name(known[0]).key)})


def test_what_it_downloads_is_what_it_sent_last(session: Session) -> None:
    report = session.report["download"]
    (sent,) = session.crowdsky.requests("upload_stack")[-1].files

    assert len(report["files"]) == len(report["keys"]) == 1
    downloaded = Path(report["files"][0])
    assert downloaded.name == sent.file_name
    assert hashlib.sha256(downloaded.read_bytes()).hexdigest() == sent.sha256


def test_raw_frames_are_kept_back_where_a_stack_is_unless_it_may_overwrite(session: Session) -> None:
    report = session.report["raw"]
    (key,) = {file["chunk_key"] for file in report["kept"]["files"]}

    assert [file["ok"] for file in report["kept"]["files"]] == [True] * RAW_FRAMES
    assert [file["filename"] for file in report["kept"]["files"]] == session.frames[:RAW_FRAMES]
    assert report["kept"]["result"] == {"ok": True, "jobs": 0, "job_ids": [], "chunks": [], "skipped": [key]}
    overwritten = report["overwritten"]["result"]
    assert (overwritten["jobs"], overwritten["chunks"], overwritten["skipped"]) == (1, [key], [])
    (stack,) = [stack for stack in session.crowdsky.uploads if stack.chunk_key == key]
    assert (stack.id, stack.n_frames_input) == (overwritten["job_ids"][0], RAW_FRAMES)


# What we make of it


def test_our_inventory_finds_covered_what_it_wrote(session: Session) -> None:
    assert session.states == {BLOCKS[0]: "covered", BLOCKS[1]: "covered", BLOCKS[2]: "skipped"}


def test_what_it_purges_is_gone_and_no_longer_covers(session: Session) -> None:
    report = session.report["purge"]

    assert report["first"]["folders_scanned"] == 2
    assert sorted(Path(path).name for path in report["first"]["deleted"]) == session.stacked
    assert report["again"]["files_deleted"] == 0
    assert session.purged == []
    assert session.states_after_purge == {BLOCKS[0]: "ready", BLOCKS[1]: "ready", BLOCKS[2]: "skipped"}
