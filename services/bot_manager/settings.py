"""What the service must know before it starts, and the settings it owns beside those of `publishing/settings.py`."""

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.configuration import SettingDefinition


class BotManagerSettings(BaseSettings):
    """Read once from the environment."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_", frozen=True)

    x_api_url: str = Field(default="https://api.x.com", pattern="^https?://[^/?#]+/?$")
    """Where X's API is; the local sandbox in the embedded default. Scheme, host and port only."""

    public_url: str = Field(default="http://127.0.0.1:8080", pattern="^https?://[^?#]+$")
    """Where browsers reach the gateway: X sends them to `/oauth/callback` there. X takes `127.0.0.1` for local use, not `localhost`."""


MAX_LATENESS: Final = SettingDefinition[int](
    key="bot_manager.publish.max_lateness",
    default=3600,
    json_schema={"type": "integer", "minimum": 0, "maximum": 30 * 24 * 3600},
    description="How late a post may go out before it is MISSED. A bot's policy may say otherwise; counts for posts scheduled from then on.",
    unit="seconds",
)
