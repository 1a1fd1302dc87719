"""The error codes of the telescope's JSON-RPC, each with the firmware's words."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What a reply's ``code`` says."""

    GOOD = 0
    BAD_PARAMETER = 102
    METHOD_NOT_FOUND = 103
    LIST_PARAMS_REFUSED = 107
    VERIFY_IN_PARAMS = 109
    NOT_VERIFIED = 110  # guessed: what a command before the handshake is answered is not documented
    MOVING = 203
    FAIL_TO_OPERATE = 207
    TOO_FEW_STARS = 263
    TRANSFORM_FAILED = 264
    NO_IMAGE = 267
    BELOW_HORIZON = 270
    NO_STAR = 279
    INTERRUPT = 514

    @property
    def text(self) -> str:
        """The ``error`` that goes with the code."""
        return self.name.lower().replace("_", " ")


class RpcError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: Code, text: str = "") -> None:
        super().__init__(text or code.text)
        self.code = code
