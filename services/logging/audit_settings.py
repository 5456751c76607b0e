"""Run-time settings of the audit trail."""

from typing import Final

from mesh.configuration import SettingDefinition

CHECKPOINT_SECONDS: Final = SettingDefinition(
    key="logging.audit.checkpoint_seconds",
    default=60,
    json_schema={"type": "integer", "minimum": 1, "maximum": 86_400},
    description="How long after an event the end of the audit chain is signed at the latest.",
    unit="seconds",
)
CHECKPOINT_EVENTS: Final = SettingDefinition(
    key="logging.audit.checkpoint_events",
    default=1_000,
    json_schema={"type": "integer", "minimum": 1, "maximum": 1_000_000},
    description="After how many new events the end of the audit chain is signed without waiting longer.",
    unit="events",
)
RETENTION_DAYS: Final = SettingDefinition(
    key="logging.audit.retention_days",
    default=0,
    json_schema={"anyOf": [{"const": 0}, {"type": "integer", "minimum": 31, "maximum": 36_500}]},
    description="Audit events older than this are removed, and a signed tombstone accounts for them. 0 keeps them for ever.",
    unit="days",
)
DEFINITIONS: Final = (CHECKPOINT_SECONDS, CHECKPOINT_EVENTS, RETENTION_DAYS)
