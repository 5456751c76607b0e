"""Run-time settings that this service owns. It has no bootstrap settings besides those of every process."""

from typing import Final

from mesh.configuration import SettingDefinition

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

DEFINITIONS: Final = (TAIL_MAX_OPEN, TAIL_MAX_RECORDS_PER_SECOND, CONSOLE_RECORDS_PER_MINUTE)
