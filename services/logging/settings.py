"""Run-time settings that this service owns. It has no bootstrap settings besides those of every process."""

from typing import Final

from mesh.configuration import SettingDefinition
from services.logging.domain.records import CONSOLE, DEBUG, TERMINAL, USER_ACTIVITY
from services.logging.domain.retention import MAX_DAYS

SEARCH_TIMEOUT: Final = SettingDefinition(
    key="logging.search.timeout_seconds",
    default=10,
    json_schema={"type": "integer", "minimum": 1, "maximum": 120},
    description="How long one search, one histogram or one page of an export may take before it is given up; never longer than the"
    " caller waits.",
    unit="seconds",
)
SEARCH_MAX_PARALLEL: Final = SettingDefinition(
    key="logging.search.max_parallel",
    default=4,
    json_schema={"type": "integer", "minimum": 1, "maximum": 8},
    description="How many searches one process makes at once. Four times as many wait for their turn, more are refused. Each takes a"
    " connection to the database, of which a process has 16.",
    unit="searches",
)


def _days(category: str, default: int, kind: str) -> SettingDefinition[int]:
    return SettingDefinition(
        key=f"logging.retention.{category}_days",
        default=default,
        json_schema={"type": "integer", "minimum": 2, "maximum": MAX_DAYS},
        description=f"How long {kind} are kept, by their time; then whole days of them are dropped.",
        unit="days",
    )


DEBUG_DAYS: Final = _days("debug", 14, "records of what the services' own code logs")
TERMINAL_DAYS: Final = _days("terminal", 14, "captured lines of what processes print")
CONSOLE_DAYS: Final = _days("console", 30, "records that the console reports from browsers")
USER_ACTIVITY_DAYS: Final = _days("user_activity", 400, "records of what users did (not the audit chain)")

RETENTION: Final = {
    USER_ACTIVITY: USER_ACTIVITY_DAYS,
    DEBUG: DEBUG_DAYS,
    TERMINAL: TERMINAL_DAYS,
    CONSOLE: CONSOLE_DAYS,
}
"""Category -> how long its records are kept."""

TAIL_MAX_OPEN: Final = SettingDefinition(
    key="logging.tail.max_open",
    default=200,
    json_schema={"type": "integer", "minimum": 1, "maximum": 1_000},
    description="How many streams may follow logs live in one process at once; one more is refused until another ends.",
    unit="streams",
)
TAIL_MAX_RECORDS_PER_SECOND: Final = SettingDefinition(
    key="logging.tail.max_records_per_second",
    default=5_000,
    json_schema={"type": "integer", "minimum": 100, "maximum": 100_000},
    description=(
        "How many new records one process reads for those who follow logs live. When more than two seconds' worth waits, the oldest"
        " are left out and the streams say how many; the store and its searches have them all."
    ),
    unit="records per second",
)
CONSOLE_RECORDS_PER_MINUTE: Final = SettingDefinition(
    key="logging.console.records_per_minute",
    default=600,
    json_schema={"type": "integer", "minimum": 1, "maximum": 100_000},
    description=(
        "How many records one user may send in a minute, counted in each process; what is over it is refused whole, with the time"
        " after which to send it again."
    ),
    unit="records per minute",
)

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
AUDIT_RETENTION_DAYS: Final = SettingDefinition(
    key="logging.audit.retention_days",
    default=0,
    json_schema={"anyOf": [{"const": 0}, {"type": "integer", "minimum": 31, "maximum": 36_500}]},
    description="Audit events older than this are removed, and a signed tombstone accounts for them. 0 keeps them for ever.",
    unit="days",
)

DEFINITIONS: Final = (
    *RETENTION.values(),
    SEARCH_TIMEOUT,
    SEARCH_MAX_PARALLEL,
    TAIL_MAX_OPEN,
    TAIL_MAX_RECORDS_PER_SECOND,
    CONSOLE_RECORDS_PER_MINUTE,
    CHECKPOINT_SECONDS,
    CHECKPOINT_EVENTS,
    AUDIT_RETENTION_DAYS,
)
