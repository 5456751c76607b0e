"""Run-time settings of feeds."""

from typing import Final

from mesh.configuration import SettingDefinition

ALLOW_PRIVATE: Final = SettingDefinition[bool](
    key="bot_manager.feeds.allow_private",
    default=False,
    json_schema={"type": "boolean"},
    description="Whether feeds may be read from addresses inside private networks, this machine included. Whoever may make schedules"
    " can then reach what this service can reach.",
)
TIME_LIMIT: Final = SettingDefinition[float](
    key="bot_manager.feeds.time_limit",
    default=10,
    json_schema={"type": "number", "minimum": 1, "maximum": 60},
    description="How long a feed may take to answer, redirects included; one that takes longer is passed over this time.",
    unit="seconds",
)
DEFINITIONS: Final = (ALLOW_PRIVATE, TIME_LIMIT)
