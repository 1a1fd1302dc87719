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
    try:
        sender = Apprise(asset=asset)
        is_known = sender.add(url.get_secret_value())
        is_taken = is_known and bool(sender.notify(body=text, title=title, body_format="text"))
    except Exception as error:  # noqa: BLE001 - of any of a hundred plugins; its words may hold the address
        raise TransientError(
            f"what speaks to {_scheme(url)}:// failed with {type(error).__name__}: write the address anew"
        ) from None
    if not is_known:
        raise PermanentError(
            f"Apprise knows no address like the one of notifications.urls that begins with {_scheme(url)}://"
        )
    if not is_taken:
        raise TransientError(f"the service behind {_scheme(url)}:// cannot be reached, or did not take it")


def address_digest(url: SecretStr) -> str:
    """Give what stands for an address in the books."""
    return hashlib.sha256(url.get_secret_value().encode()).hexdigest()[:16]


def _scheme(url: SecretStr) -> str:
    return url.get_secret_value().partition("://")[0].lower()
