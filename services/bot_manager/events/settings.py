"""Run-time settings of events."""

from typing import Final

from mesh.configuration import SettingDefinition

KEEP: Final = SettingDefinition[int](
    key="bot_manager.events.keep",
    default=7 * 24 * 3600,
    json_schema={"type": "integer", "minimum": 3600, "maximum": 90 * 24 * 3600},
    description="How long events can be watched after the fact, and deliveries of webhooks stay listed. The stories of posts stay.",
    unit="seconds",
)
MAX_WATCHERS: Final = SettingDefinition[int](
    key="bot_manager.events.max_watchers",
    default=200,
    json_schema={"type": "integer", "minimum": 1, "maximum": 5000},
    description="Streams of events that one process serves at a time.",
    unit="streams",
)

DEFINITIONS: Final = (KEEP, MAX_WATCHERS)
