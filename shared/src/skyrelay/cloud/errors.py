"""What a call to the cloud can end in; the type says whether trying again makes sense."""

# ruff: noqa: N818 - each names what the caller decides upon

from __future__ import annotations

from skyrelay.errors import AmbiguousError, PermanentError, TransientError


class CloudAway(TransientError):
    """The cloud does not answer, or says that it cannot just now."""


class CloudBroken(CloudAway):
    """The cloud fell over what it was sent (500 and a web page): this item's fault, or the cloud's own."""


class CloudAnswerLost(AmbiguousError):
    """The whole file may have arrived, but its answer did not, and the cloud cannot be asked."""


class CloudRefused(PermanentError):
    """The cloud said no, in the words of the message; the same request will be refused again."""


class CredentialsRefused(CloudRefused):
    """The cloud does not know these credentials (any more). Registering again is a person's decision."""


class ItemRefused(CloudRefused):
    """The cloud will not have this measurement or image; the others go on."""


class ImageUnreadable(PermanentError):
    """Our own file is gone or no FITS: nothing was sent."""


class MeasurementInvalid(PermanentError):
    """This is no measurement that the cloud could take: sending it would break it, or store nonsense."""
