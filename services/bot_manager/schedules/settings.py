"""Run-time settings of schedules."""

from typing import Final

from mesh.configuration import SettingDefinition, SettingsView


def _seconds(
    key: str, default: float, least: float, most: float, description: str
) -> SettingDefinition[float]:
    return SettingDefinition(
        key=f"bot_manager.schedule.{key}",
        default=default,
        json_schema={"type": "number", "minimum": least, "maximum": most},
        description=description,
        unit="seconds",
    )


HORIZON: Final = _seconds(
    "horizon",
    24 * 3600,
    60,
    31 * 24 * 3600,
    "How long before its time the post of an occurrence is made. A day lets people see and approve what comes, in any time zone, and keeps"
    " few posts to be made anew when a schedule changes. News of feeds and drafts of queues are taken a minute before.",
)
MISFIRE_GRACE: Final = _seconds(
    "misfire_grace",
    300,
    0,
    24 * 3600,
    "How late an occurrence may begin to go out and still be on time, where its schedule does not say. Later ones fall under the misfire"
    " policy: the product or the bot was stopped.",
)
TICK: Final = _seconds(
    "tick",
    5,
    0.05,
    300,
    "Pause between looks for occurrences to make posts of. A schedule that is made or changed is looked at at once.",
)
DEFINITIONS: Final = (HORIZON, MISFIRE_GRACE, TICK)


class Scheduling(SettingsView):
    """The settings as they are read, all of one snapshot."""

    horizon = HORIZON
    misfire_grace = MISFIRE_GRACE
    tick = TICK
