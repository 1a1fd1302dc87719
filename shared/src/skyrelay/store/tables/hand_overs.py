"""What a plan and an interrupt have in common: each may be handed to a telescope."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import false
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.domain.states import HandOverState


class HandedOver:
    """Columns of what is handed to a telescope when it is asked for.

    The gateway writes that it is asked for; the cloud agent the rest.
    """

    run_asked_at: Mapped[datetime | None]  # when a person, or `cloud.auto_run_plans`, asked for it
    replace_running: Mapped[bool] = mapped_column(default=False)  # a person allowed what runs to be stopped
    run_state: Mapped[str] = mapped_column(default=HandOverState.NOT_ASKED, server_default="")
    run_reason: Mapped[str] = mapped_column(default="", server_default="")
    run_at: Mapped[datetime | None]  # of the last try
    can_replace: Mapped[bool] = mapped_column(default=False, server_default=false())  # refused for what runs
    telescope: Mapped[str] = mapped_column(default="", server_default="")  # name of the one that was tried
