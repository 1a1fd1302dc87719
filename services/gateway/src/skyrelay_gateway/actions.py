"""What a person may have done a second time, with what it means: asked before it is done."""

from __future__ import annotations

from skyrelay.domain.states import BlockState
from skyrelay_gateway.models import Action
from skyrelay_gateway.texts import text


def stack_again(block_id: int, state: BlockState) -> Action:
    """Have a block stacked that has its stack already, or whose raw frames were sent."""
    return Action(
        label=text("again.stack"),
        path="api/v1/stack",
        body={"block_id": block_id, "again": True},
        confirm=text("again.stack_raw" if state is BlockState.RAW else "again.stack_stacked"),
        done=text("again.stack_done"),
    )


def send_offered(stack_id: int) -> Action:
    """Have a stack sent that another tool made."""
    return Action(
        label=text("offer.send"),
        path="api/v1/offers",
        body={"stack_id": stack_id},
        confirm=text("offer.confirm"),
        done=text("offer.done"),
    )


def send_all_offered(number: int) -> Action:
    """Have all those sent that other tools made."""
    return Action(
        label=text("offer.send_all", n=number),
        path="api/v1/offers",
        body={"all": True},
        confirm=text("offer.confirm" if number == 1 else "offer.confirm_all"),
        done=text("offer.done" if number == 1 else "offer.done_all"),
    )
