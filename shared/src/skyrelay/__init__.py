"""What the services of Skyrelay share. Importing it does nothing."""

from skyrelay.version import __version__

__all__ = ["__version__"]
