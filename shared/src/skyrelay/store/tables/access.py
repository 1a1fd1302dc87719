"""Who may speak to the gateway: the owner, browsers that are logged in, programs with a token.

Written by the gateway and by the commands `skyrelay password` and `skyrelay token`. No password, code,
cookie or token is in here, only what each is recognised by.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class Owner(Base):
    """The one person who may log in (``id`` is 1); without a password nobody has claimed this home yet."""

    __tablename__ = "owner"

    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str | None]  # argon2id, with its salt and parameters
    setup_code_hash: Mapped[str | None]  # the same; gone once it was used
    updated_at: Mapped[datetime]


class LoginSession(Base):
    """A browser that is logged in, recognised by its cookie's SHA-256."""

    __tablename__ = "login_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    address: Mapped[str]  # it logged in from
    browser: Mapped[str]  # as it called itself then
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class ApiToken(Base):
    """A program's token, recognised by its SHA-256; a revoked one stays, for the log."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # unique among those that are not revoked
    scope: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    is_local: Mapped[bool]  # lies in `data_dir` for our own programs
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginAttempts(Base):
    """The wrong passwords of one source: an address, a browser that has logged in before, or all together."""

    __tablename__ = "login_attempts"

    source: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]
    free_at: Mapped[datetime]  # before this nothing from there is tried
