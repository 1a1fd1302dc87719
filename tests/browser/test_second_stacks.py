"""What can be made or sent twice: each has a button, which says first that CrowdSky will then have both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from support.dashboard_browser import dashboard, visitor
from support.dashboard_scene import Scene
from support.gateway import GatewayClient
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer


@pytest.fixture
def gateway(night: Store, scene: Scene, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Serve the scene's night, whose latest stack is another tool's and got frames afterwards."""
    with night.write() as session:
        stack = latest_stack(night)
        block = session.get_one(Block, stack.block_id)
        session.get_one(Stack, stack.id).is_offered = True
        telescope = session.get_one(Telescope, block.telescope_id)
        begun = (block.start_at + timedelta(minutes=block.utc_offset_min)).replace(tzinfo=None)
        for number in range(12):
            exposed = begun + timedelta(minutes=11, seconds=15 * number)
            RecordedNight(session).frame(telescope, block.target, exposed, block_id=block.id)
    with dashboard(night, redis_server, scene.archive) as client:
        yield client


def latest_stack(store: Store) -> Stack:
    with store.read() as session:
        return session.scalars(select(Stack).order_by(Stack.id.desc()).limit(1)).one()


def press(page: Page, name: str) -> None:
    """Press a button, read what it asks, take it back, and then mean it."""
    button = page.locator("main").get_by_role("button", name=name).first
    dialog = page.get_by_role("dialog")
    button.click()
    expect(dialog).to_contain_text("CrowdSky will then have both")
    dialog.get_by_role("button", name="Cancel").click()
    button.click()
    dialog.get_by_role("button", name=name).click()


@pytest.mark.parametrize("path", ["", "nights/2025-03-26", "gallery/{stack}"])
def test_a_block_with_frames_that_came_too_late_is_stacked_again(
    chromium: Browser, night: Store, gateway: GatewayClient, path: str
) -> None:
    stack = latest_stack(night)
    with visitor(chromium, night, gateway, on_phone=True) as page:
        page.goto("/" + path.format(stack=stack.id))
        expect(page.get_by_text("12 frames came too late").first).to_be_visible()
        press(page, "Stack again…")
        expect(page.get_by_text("It is stacked again once the telescope")).to_be_visible()
    with night.read() as session:
        block = session.get_one(Block, stack.block_id)
        assert (block.state, block.requested) == (BlockState.COLLECTING, True)


@pytest.mark.parametrize("path", ["deliveries", "gallery/{stack}"])
def test_a_stack_of_another_tool_is_sent_only_when_asked_for(
    chromium: Browser, night: Store, gateway: GatewayClient, path: str
) -> None:
    stack = latest_stack(night)
    with visitor(chromium, night, gateway, on_phone=True) as page:
        page.goto("/gallery")
        expect(page.locator(".picture").first).to_contain_text("another tool's")
        page.goto("/" + path.format(stack=stack.id))
        press(page, "Send it…")
        expect(page.get_by_text("It is sent as soon as it has been fetched.")).to_be_visible()
    with night.read() as session:
        owed = session.scalars(select(Delivery).where(Delivery.stack_id == stack.id)).one()
        assert (owed.state, session.get_one(Stack, stack.id).is_offered) == (DeliveryState.PENDING, False)
