"""What can go wrong with the demo."""

from skyrelay.errors import SkyrelayError


class DemoFailed(SkyrelayError):  # noqa: N818 - the state it names
    """The night did not end as it should; the message says what to look at."""
