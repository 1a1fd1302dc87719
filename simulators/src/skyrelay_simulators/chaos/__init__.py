"""``skyrelay chaos``: the real services through a night in which everything is killed, again and again."""

from skyrelay_simulators.chaos.command import chaos

__all__ = ["chaos"]
