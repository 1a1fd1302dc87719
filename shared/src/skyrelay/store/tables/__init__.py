"""The tables, one file each; each names the service that writes it."""

from skyrelay.store.tables.access import ApiToken, LoginAttempts, LoginSession, Owner
from skyrelay.store.tables.audit import AuditEntry
from skyrelay.store.tables.base import Base
from skyrelay.store.tables.blocks import Block
from skyrelay.store.tables.cloud_interrupts import CloudInterrupt
from skyrelay.store.tables.cloud_plans import CloudPlanRow
from skyrelay.store.tables.deliveries import Delivery
from skyrelay.store.tables.destinations import Destination
from skyrelay.store.tables.discoveries import Discovery
from skyrelay.store.tables.frames import Frame
from skyrelay.store.tables.idempotency_keys import IdempotencyKey
from skyrelay.store.tables.ignored_files import IgnoredFile
from skyrelay.store.tables.measurements import Measurement
from skyrelay.store.tables.notices import Notice
from skyrelay.store.tables.pauses import Pause
from skyrelay.store.tables.purges import Purge, PurgeFile, PurgePart
from skyrelay.store.tables.runs import Run, RunBlock
from skyrelay.store.tables.scripted_stacks import ScriptedStack
from skyrelay.store.tables.secrets import Secret
from skyrelay.store.tables.setting_changes import SettingChange
from skyrelay.store.tables.stacks import Stack
from skyrelay.store.tables.telescope_trials import TelescopeTrial
from skyrelay.store.tables.telescopes import Telescope

__all__ = [
    "ApiToken",
    "AuditEntry",
    "Base",
    "Block",
    "CloudInterrupt",
    "CloudPlanRow",
    "Delivery",
    "Destination",
    "Discovery",
    "Frame",
    "IdempotencyKey",
    "IgnoredFile",
    "LoginAttempts",
    "LoginSession",
    "Measurement",
    "Notice",
    "Owner",
    "Pause",
    "Purge",
    "PurgeFile",
    "PurgePart",
    "Run",
    "RunBlock",
    "ScriptedStack",
    "Secret",
    "SettingChange",
    "Stack",
    "Telescope",
    "TelescopeTrial",
]
