"""Tell a person something at an address of Apprise (https://github.com/caronc/apprise).

Addresses hold tokens and passwords: they stand in no message, log or error.
"""

from __future__ import annotations

import hashlib
import logging

from pydantic import SecretStr

from skyrelay.errors import PermanentError, TransientError


def send_notification(url: SecretStr, title: str, text: str) -> None:
    """Send one message.

    Parameters
    ----------
    url
        Such as ``ntfy://host/topic`` or ``mailto://…``.
    title, text
        Plain text.

    Raises
    ------
    PermanentError
        If Apprise knows no such address.
    TransientError
        If the other side could not be reached, or did not take it; Apprise does not say which.
    """
    from apprise import Apprise, AppriseAsset  # it loads more than a hundred plugins

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines name hosts and parts of addresses
    asset = AppriseAsset(app_id="Skyrelay", app_desc="Skyrelay", async_mode=False, secure_logging=True)
    sender = Apprise(asset=asset)
    if not sender.add(url.get_secret_value()):
        raise PermanentError(
            f"Apprise knows no address like the one of notifications.urls that begins with {_scheme(url)}://"
        )
    if not sender.notify(body=text, title=title, body_format="text"):
        raise TransientError(f"the service behind {_scheme(url)}:// cannot be reached, or did not take it")


def address_digest(url: SecretStr) -> str:
    """Give what stands for an address in the books."""
    return hashlib.sha256(url.get_secret_value().encode()).hexdigest()[:16]


def _scheme(url: SecretStr) -> str:
    return url.get_secret_value().partition("://")[0].lower()
