"""Run-time settings that this service owns. It has no bootstrap settings besides those of every process."""

from typing import Final

from mesh.configuration import SettingDefinition

LEASES_MAX_PER_BOT: Final = SettingDefinition(
    key="secure_bot_data.leases.max_per_bot",
    default=100,
    json_schema={"type": "integer", "minimum": 1, "maximum": 10_000},
    description="How many leases of one bot's secrets may be in force at once; one more is refused.",
    unit="leases",
)
