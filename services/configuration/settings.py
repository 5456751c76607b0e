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
KEEP_REVISIONS = SettingDefinition[int](
    key="configuration.history.keep_revisions",
    default=10_000,
    json_schema={"type": "integer", "minimum": 100, "maximum": 10_000_000},
    description=(
        "How many of the newest revisions of settings and roles are always kept. An older one goes once it is older than "
        "configuration.history.keep_days as well; it can then no longer be compared with or rolled back to."
    ),
    unit="revisions",
)
KEEP_DAYS = SettingDefinition[int](
    key="configuration.history.keep_days",
    default=365,
    json_schema={"type": "integer", "minimum": 0, "maximum": 36_500},
    description=(
        "How long revisions are kept even if more than configuration.history.keep_revisions are newer. 0: the number alone decides."
    ),
    unit="days",
)

DEFINITIONS = (POLL_SECONDS, APPROVAL_LIFETIME, KEEP_REVISIONS, KEEP_DAYS)
