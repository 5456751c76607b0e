"""Settings of authentication that every service enforces; authentication owns and registers them."""

from datetime import timedelta
from typing import Final

from mesh.configuration import ConfigurationWatch, SettingDefinition

STEP_UP_MAX_AGE: Final = SettingDefinition(
    key="authentication.step_up.max_age",
    default=900,
    json_schema={"type": "integer", "minimum": 60, "maximum": 86_400},
    description="How long ago a second factor may have been proved for methods that ask for a recent one.",
    unit="seconds",
)
REVOCATIONS_MAX_STALENESS: Final = SettingDefinition(
    key="authentication.revocations.max_staleness",
    default=15,
    json_schema={"type": "integer", "minimum": 3, "maximum": 300},
    description=(
        "How long a service may have heard nothing of revoked sessions before it refuses what would do harm in a thief's hands."
        " Heartbeats come each second."
    ),
    unit="seconds",
)
SECOND_FACTOR_REQUIRED: Final = SettingDefinition(
    key="authentication.second_factor.required",
    default=False,
    json_schema={"type": "boolean"},
    description=(
        "Whether a session needs a second factor for everything but the own account. Enrol one before switching it on;"
        " OWASP ASVS 6.3.3 asks for it at level 2."
    ),
)
DEFINITIONS: Final = (STEP_UP_MAX_AGE, REVOCATIONS_MAX_STALENESS, SECOND_FACTOR_REQUIRED)


class Rules:
    """The settings in force; read anew at each use."""

    def __init__(self, configuration: ConfigurationWatch) -> None:
        configuration.use(DEFINITIONS)
        self._value = configuration.value

    @property
    def step_up_max_age(self) -> timedelta:
        """How long a proved second factor counts as recent."""
        return timedelta(seconds=self._value(STEP_UP_MAX_AGE))

    @property
    def max_staleness(self) -> timedelta:
        """How old the knowledge of revocations may be for dangerous methods."""
        return timedelta(seconds=self._value(REVOCATIONS_MAX_STALENESS))

    @property
    def second_factor_required(self) -> bool:
        """Whether sessions without a second factor are limited to the own account."""
        return self._value(SECOND_FACTOR_REQUIRED)
