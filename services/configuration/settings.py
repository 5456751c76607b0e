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

APPROVAL_LIFETIME = SettingDefinition[float](
    key="configuration.changes.approval_lifetime",
    default=7 * 24 * 3600,
    json_schema={"type": "number", "minimum": 60, "maximum": 90 * 24 * 3600},
    description=(
        "How long a change of settings waits for the approval of a second person before it is rejected by itself. Counts for "
        "changes that are asked for from then on. Raise it where approvers are away for longer."
    ),
    unit="seconds",
)

DEFINITIONS = (POLL_SECONDS, APPROVAL_LIFETIME)
