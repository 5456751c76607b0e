"""Run-time settings of tokens."""

from typing import Final

from mesh.configuration import SettingDefinition

REFRESH_BEFORE: Final = SettingDefinition[float](
    key="bot_manager.credentials.refresh_before",
    default=300,
    json_schema={"type": "number", "minimum": 0, "maximum": 3600},
    description=(
        "How long before its end an OAuth 2.0 access token is replaced. X takes each refresh token once, so earlier means more risk, not less."
    ),
    unit="seconds",
)
