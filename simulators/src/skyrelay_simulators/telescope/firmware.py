"""What differs from one firmware to the next: the one table that the simulator asks.

``firmware_ver_int`` is 2000 plus the version times 100: 2427 is 4.27, 2846 is 8.46.
Each number below is documented (seestarpy 0.2 to 0.7.1) unless the line says that it is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

_STRICT_VERIFY_SINCE = 2706  # 7.06: `verify` inside params is refused
_AUTHENTICATION_SINCE = 2718  # 7.18: challenge and signature
_CLEAR_BATCH_STACK_SINCE = 2775  # 7.75: before it only clear_app_state
_FULL_NAMES_SINCE = 2775  # 7.75: batch stacking wants paths from the eMMC's root
_EQMODE_CARD_SINCE = 2500  # guessed: 4.27 has no EQMODE card, "newer firmware" does


@dataclass(frozen=True, slots=True, order=True)
class Firmware:
    """A firmware by its ``firmware_ver_int``."""

    number: int

    @property
    def version(self) -> str:
        """The ``firmware_ver_string``, e.g. ``8.46``; frames carry it as PROGRAM."""
        return f"{(self.number - 2000) // 100}.{self.number % 100:02d}"

    @property
    def refuses_verify_in_params(self) -> bool:
        """Whether ``verify`` must stand beside ``params`` (codes 109 and 107 otherwise)."""
        return self.number >= _STRICT_VERIFY_SINCE

    @property
    def authenticates(self) -> bool:
        """Whether the handshake's methods exist."""
        return self.number >= _AUTHENTICATION_SINCE

    @property
    def clears_batch_stack(self) -> bool:
        """Whether ``clear_batch_stack`` exists."""
        return self.number >= _CLEAR_BATCH_STACK_SINCE

    @property
    def wants_full_names(self) -> bool:
        """Whether frames to stack are named from the eMMC's root (else by bare file name)."""
        return self.number >= _FULL_NAMES_SINCE

    @property
    def writes_eqmode(self) -> bool:
        """Whether frames carry an EQMODE card."""
        return self.number >= _EQMODE_CARD_SINCE
