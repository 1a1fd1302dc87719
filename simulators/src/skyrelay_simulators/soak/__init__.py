"""``skyrelay soak``: night after night, and whether anything grows that should not."""

from skyrelay_simulators.soak.command import soak

__all__ = ["soak"]
