"""Run-time settings that this service owns. It has no bootstrap settings besides those of every process."""

from typing import Final

from mesh.configuration import SettingDefinition

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
