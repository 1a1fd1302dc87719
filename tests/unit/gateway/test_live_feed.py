"""What becomes of a viewer that is slow, or that nothing happens for."""

from __future__ import annotations

import asyncio

from fastapi.sse import KEEPALIVE_COMMENT

from skyrelay_gateway.live_feed import Snapshot, Viewer


def test_a_viewer_gets_what_was_put_in_order_and_then_a_sign_of_life() -> None:
    async def watch() -> list[bytes | None]:
        viewer = Viewer(Snapshot(0))
        viewer.put(b"one")
        viewer.put(b"two")
        return [await viewer.next(0.01) for _ in range(3)]

    assert asyncio.run(watch()) == [b"one", b"two", KEEPALIVE_COMMENT]


def test_a_viewer_that_is_too_far_behind_gets_what_waits_without_a_gap_and_then_the_end() -> None:
    async def watch() -> list[bytes | None]:
        viewer = Viewer(Snapshot(0))
        for number in range(1000):
            viewer.put(str(number).encode())
        assert viewer.is_over
        taken = []
        while (batch := await viewer.next(5)) is not None:
            taken.append(batch)
        return taken

    taken = asyncio.run(watch())
    assert 0 < len(taken) < 100
    assert taken == [str(number).encode() for number in range(len(taken))]
