"""What this service lets operators adjust in itself. It has no bootstrap settings beyond those of every process."""

from mesh.configuration import SettingDefinition

POLL_SECONDS = SettingDefinition[float](
    key="configuration.watch.poll_seconds",
    default=1,
    json_schema={"type": "number", "minimum": 0.05, "maximum": 1},
    description=(
        "Longest time between two looks at the history for revisions that another replica made. Hints make most looks "
        "immediate; this bounds the delay when one is lost. Lower it where NATS is unreliable."
    ),
    unit="seconds",
)

DEFINITIONS = (POLL_SECONDS,)
