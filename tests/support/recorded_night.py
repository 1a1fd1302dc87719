"""Lay down nights in the database the way the services record them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.night import night_of
from skyrelay.domain.states import BlockState, DeliveryState, FrameState, TelescopeState
from skyrelay.store.tables import Block, Delivery, Frame, Stack, Telescope

_SEEN_AT = datetime(2025, 3, 27, 3, tzinfo=UTC)


class RecordedNight:
    """Writes rows through one session; times are the telescope's wall clock at ``offset``."""

    def __init__(self, session: Session, offset: timedelta = timedelta(hours=-4)) -> None:
        self._session = session
        self._offset = offset

    def telescope(self, name: str = "garden", **columns: Any) -> Telescope:
        """Add a telescope."""
        values = {
            "serial": f"sn-{name}",
            "host": "192.0.2.7",
            "rpc_port": 4700,
            "http_port": 80,
            "smb_port": 445,
            "smb_share": "auto",
            "timezone": "auto",
            "state": TelescopeState.READY,
            "state_reason": "",
            "created_at": _SEEN_AT,
        }
        return self._add(Telescope(name=name, **{**values, **columns}))

    def block(
        self,
        telescope: Telescope,
        target: str,
        start_local: datetime,
        state: BlockState = BlockState.COLLECTING,
        frames: int = 30,
        **columns: Any,
    ) -> Block:
        """Add a block with its good frames, 10 s each."""
        start_at = self.utc(start_local)
        values = {
            "folder": f"{target}_sub",
            "exposure": "10.0s",
            "exposure_s": 10.0,
            "filter": "IRCUT",
            "start_at": start_at,
            "minutes": 15,
            "utc_offset_min": int(self._offset / timedelta(minutes=1)),
            "night": night_of(start_at, self._offset).isoformat(),
            "frame_count": frames,
            "state": state,
            "created_at": start_at,
            "updated_at": start_at,
        }
        block = self._add(Block(telescope_id=telescope.id, target=target, **{**values, **columns}))
        for number in range(frames):
            exposed = start_local + timedelta(seconds=20 * number)
            self.frame(telescope, target, exposed, block_id=block.id, is_sent_raw=state is BlockState.RAW)
        return block

    def frame(self, telescope: Telescope, target: str, start_local: datetime, **columns: Any) -> Frame:
        """Add one frame of 10 s whose exposure began at ``start_local``; it was saved 13 s later."""
        saved = start_local + timedelta(seconds=13)
        values = {
            "folder": f"{target}_sub",
            "exposure": "10.0s",
            "exposure_s": 10.0,
            "filter": "IRCUT",
            "saved_local": saved,
            "start_at": self.utc(start_local),
            "start_source": "header",
            "utc_offset_min": int(self._offset / timedelta(minutes=1)),
            "offset_source": "header",
            "size_bytes": 4_154_880,
            "state": FrameState.OK,
            "seen_by": "watcher",
            "seen_at": _SEEN_AT,
            "file_name": f"Light_{target}_10.0s_IRCUT_{saved:%Y%m%d-%H%M%S}.fit",
        }
        return self._add(Frame(telescope_id=telescope.id, target=target, **{**values, **columns}))

    def stack(self, block: Block, *, aligned: int | None = None, given: int | None = None) -> Stack:
        """Add the stack of a block, of its first ``given`` frames (all, when not given)."""
        frames = self._session.query(Frame).filter_by(block_id=block.id, state=FrameState.OK)
        used = frames.order_by(Frame.id).all()[:given]
        key = f"{chunk_of(block.start_at)}_HP033810"
        count = len(used) if aligned is None else aligned
        stack = self._add(
            Stack(
                block_id=block.id,
                telescope_id=block.telescope_id,
                folder=block.target,
                original_name=f"DSO_Stacked_{count}_{block.target}_10.0s_{block.id}.fit",
                crowdsky_name=f"CrowdSky_{count}_{block.target}_10.0s_IRCUT_{key}.fit",
                chunk_key=key,
                frames_input=len(used),
                frames_aligned=count,
                exposure_total_s=10.0 * count,
                first_start_at=block.start_at,
                last_end_at=block.start_at + timedelta(minutes=10),
                renamed_at=block.start_at + timedelta(hours=1),
                fetched_at=block.start_at + timedelta(hours=1),
                created_at=block.start_at + timedelta(hours=1),
            )
        )
        for frame in used:
            frame.stack_id = stack.id
        self._session.flush()
        return stack

    def delivery(self, stack: Stack, state: DeliveryState, **columns: Any) -> Delivery:
        """Add the delivery of a stack to CrowdSky."""
        values = {"destination": "crowdsky", "created_at": stack.created_at, "updated_at": stack.created_at}
        return self._add(Delivery(stack_id=stack.id, state=state, **{**values, **columns}))

    def utc(self, local: datetime) -> datetime:
        """Give the aware UTC time of a wall clock."""
        return (local - self._offset).replace(tzinfo=UTC)

    def _add(self, row: Any) -> Any:
        self._session.add(row)
        self._session.flush()
        return row
