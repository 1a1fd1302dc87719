"""A message is ids and a version; what is anything else is refused, never guessed at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from skyrelay.queue.tasks import (
    BlockMessage,
    DeliveryMessage,
    Message,
    Nothing,
    StackMessage,
    TelescopeMessage,
)

_MESSAGES = [
    Nothing(),
    TelescopeMessage(telescope_id=1),
    BlockMessage(block_id=2),
    StackMessage(stack_id=3),
    DeliveryMessage(delivery_id=2**40),
]


@pytest.mark.parametrize("message", _MESSAGES)
def test_a_message_survives_the_queue(message: Message) -> None:
    payload = json.loads(json.dumps(message.model_dump()))
    assert payload["version"] == 1
    assert type(message).read(payload) == message


@pytest.mark.parametrize("message", _MESSAGES)
@pytest.mark.parametrize("version", [0, 2, "1.5", None])
def test_a_version_that_is_not_known_is_refused(message: Message, version: object) -> None:
    with pytest.raises(ValidationError, match="version"):
        type(message).read({**message.model_dump(), "version": version})


@pytest.mark.parametrize("message", _MESSAGES)
def test_a_field_that_is_not_known_is_refused(message: Message) -> None:
    with pytest.raises(ValidationError, match="state"):
        type(message).read({**message.model_dump(), "state": "ready"})


@pytest.mark.parametrize(
    "payload", [{}, {"block_id": None}, {"block_id": "x"}, {"stack_id": 1}, [], None, 7, "7"]
)
def test_what_is_no_message_is_refused(payload: Any) -> None:
    with pytest.raises(ValidationError):
        BlockMessage.read(payload)


def test_a_message_cannot_be_changed_on_its_way() -> None:
    message = BlockMessage(block_id=2)
    with pytest.raises(ValidationError, match="frozen"):
        message.block_id = 3  # type: ignore[misc] # that is the mistake
