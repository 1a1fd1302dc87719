"""From the database's rows to the answers of the API."""

from __future__ import annotations

from datetime import date, timedelta

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, Reach, TelescopeState
from skyrelay.store.receipts import utc_offset_text
from skyrelay.store.tables import Block, Delivery, Measurement, Stack, Telescope
from skyrelay_gateway.models import BlockView, DeliveryView, StackView, TelescopeView
from skyrelay_gateway.words import telescope_words


def telescope_view(row: Telescope) -> TelescopeView:
    """Give a telescope as the API shows it."""
    return TelescopeView(
        id=row.id,
        name=row.name,
        serial=row.serial,
        model=row.model,
        firmware=row.firmware,
        host=row.host,
        found_host=row.found_host,
        rpc_port=row.rpc_port,
        http_port=row.http_port,
        smb_port=row.smb_port,
        timezone=row.timezone,
        state=TelescopeState(row.state),
        reach=Reach(row.reach) if row.reach else None,
        words=telescope_words(row),
        reason=row.state_reason,
        state_since=row.state_since,
        last_seen_at=row.last_seen_at,
        battery_percent=row.battery_percent,
        free_mb=row.free_mb,
        temperature_c=row.temperature_c,
        looked_at=row.looked_at,
        inventory_finished_at=row.inventory_finished_at,
        inventory_asked_at=row.inventory_asked_at,
        inventory_error=row.inventory_error,
        added_at=row.added_at,
        forgotten_at=row.forgotten_at,
    )


def block_view(block: Block, telescope: str, stack: Stack | None, late_frames: int) -> BlockView:
    """Give a block as the API shows it, with its stack's names where there is one."""
    offset = timedelta(minutes=block.utc_offset_min)
    return BlockView(
        id=block.id,
        telescope=telescope,
        target=block.target,
        exposure=block.exposure,
        filter=block.filter,
        start_at=block.start_at,
        end_at=block.start_at + timedelta(minutes=block.minutes),
        start_local=(block.start_at + offset).replace(tzinfo=None),
        utc_offset=utc_offset_text(block.utc_offset_min),
        night=date.fromisoformat(block.night),
        frame_count=block.frame_count,
        state=BlockState(block.state),
        reason=block.reason,
        requested=block.requested,
        attempts=block.attempts,
        next_attempt_at=block.next_attempt_at,
        needs_you=block.needs_you,
        percent=block.percent,
        late_frames=late_frames,
        stack_id=stack.id if stack else None,
        stack_name=stack.crowdsky_name if stack else None,
        chunk_key=stack.chunk_key if stack else None,
        updated_at=block.updated_at,
    )


def stack_view(stack: Stack, block: Block, telescope: str) -> StackView:
    """Give a stack as the API shows it."""
    return StackView(
        id=stack.id,
        block_id=block.id,
        telescope=telescope,
        target=block.target,
        exposure=block.exposure,
        filter=block.filter,
        night=date.fromisoformat(block.night),
        name=stack.crowdsky_name,
        original_name=stack.original_name,
        chunk_key=stack.chunk_key,
        frames_input=stack.frames_input,
        frames_aligned=stack.frames_aligned,
        exposure_total_s=stack.exposure_total_s,
        first_start_at=stack.first_start_at,
        last_end_at=stack.last_end_at,
        ra_deg=stack.ra_deg,
        dec_deg=stack.dec_deg,
        size_bytes=stack.size_bytes,
        renamed_at=stack.renamed_at,
        rename_error=stack.rename_error,
        fetched_at=stack.fetched_at,
        fetch_error=stack.fetch_error,
        found_at=stack.found_at,
        is_offered=stack.is_offered,
        created_at=stack.created_at,
    )


def delivery_view(
    delivery: Delivery,
    stack: Stack | None,
    block: Block | None,
    telescope: str | None,
    measurement: Measurement | None,
) -> DeliveryView:
    """Give a delivery as the API shows it: of a stack with its block, or of a measurement."""
    return DeliveryView(
        id=delivery.id,
        kind=DeliveryKind(delivery.kind),
        stack_id=stack.id if stack else None,
        block_id=block.id if block else None,
        telescope=telescope,
        target=block.target if block else measurement.target if measurement else "",
        night=date.fromisoformat(block.night) if block else None,
        stack_name=stack.crowdsky_name if stack else None,
        destination=delivery.destination,
        state=DeliveryState(delivery.state),
        reason=delivery.reason,
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_attempt_at,
        needs_you=delivery.needs_you,
        sent_at=delivery.sent_at,
        accepted_at=delivery.accepted_at,
        confirmed_at=delivery.confirmed_at,
        chunk_key=stack.chunk_key if stack else None,
        server_chunk_key=delivery.server_chunk_key,
        server_job=delivery.server_job,
        server_id=delivery.server_id,
        given_up_at=delivery.given_up_at,
        updated_at=delivery.updated_at,
    )
