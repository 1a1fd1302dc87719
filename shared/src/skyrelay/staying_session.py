"""An HTTP session that goes nowhere else, whatever an answer's ``Location`` says."""

from __future__ import annotations

import requests
from requests import Response


class StayingSession(requests.Session):
    """Takes a redirection as the answer that it is.

    With ``allow_redirects=False`` alone, `requests` still works out where it would have gone: it reads the
    whole body first, however long, and raises what is no `requests.RequestException` at an address that is
    none.
    """

    def get_redirect_target(self, resp: Response) -> str | None:  # noqa: ARG002 - the base's name
        """Go nowhere."""
        return None
