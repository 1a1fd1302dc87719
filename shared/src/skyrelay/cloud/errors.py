"""What a call to the cloud can end in; the type says whether trying again makes sense."""

from __future__ import annotations

from skyrelay.errors import PermanentError, TransientError


class CloudAway(TransientError):  # noqa: N818 - the state it names
    """The cloud does not answer, or says that it cannot just now."""


class CloudRefused(PermanentError):  # noqa: N818 - the state it names
    """The cloud said no, in the words of the message; the same request will be refused again."""


class CredentialsRefused(CloudRefused):
    """The cloud does not know these credentials (any more). Registering again is a person's decision."""
