"""The answers and requests of the access calls. No hash and no cookie is in any of them."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from skyrelay.access.tokens import Scope
from skyrelay.domain.password_rule import MAX_PASSWORD, MIN_PASSWORD
from skyrelay_gateway.models import View


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class TokenView(View):
    """A token: what it may do and when it was used, never itself."""

    id: int
    name: str
    scope: Scope
    is_local: bool
    created_at: AwareDatetime
    last_used_at: AwareDatetime | None


class TokenRequest(_Request):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^\w[\w .:-]*$", examples=["Home Assistant"])
    scope: Scope


class NewToken(View):
    """A token that was made: ``token`` is shown this once and kept nowhere."""

    id: int
    name: str
    scope: Scope
    token: str


class SessionView(View):
    """A browser that is logged in; ``is_this`` is the one that asks."""

    id: int
    address: str
    browser: str
    created_at: AwareDatetime
    last_seen_at: AwareDatetime
    expires_at: AwareDatetime
    is_this: bool


class Ended(View):
    """How many logins have ended."""

    ended: int


class PasswordRequest(_Request):
    """The password as it is and as it shall be."""

    current: SecretStr = Field(max_length=MAX_PASSWORD)
    new: SecretStr = Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)


class CallerView(View):
    """Who asks, as the gateway sees it, and what they may do."""

    kind: str
    name: str
    scope: Scope
