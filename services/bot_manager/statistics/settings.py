"""Run-time settings of statistics."""

from typing import Final

from mesh.configuration import SettingDefinition

FOLLOW_DAYS: Final = SettingDefinition[int](
    key="bot_manager.statistics.follow_days",
    default=30,
    json_schema={"type": "integer", "minimum": 0, "maximum": 30},
    description="How long the counters of a post are read by themselves: 15 min, 1 h, 3 h, 6 h, 12 h and 24 h after it went out, then daily. X charges a read of each post and day, and no longer tells clicks after 30 days. 0: only when somebody asks.",
    unit="days",
)
