"""``skyrelay demo``: the real services against the simulators, through one accelerated night."""

from skyrelay_simulators.demo.command import demo

__all__ = ["demo"]
